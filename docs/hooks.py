"""Pictures that the benchmarks draw belong to the site, too: pages name them where they lie in the repository."""

from pathlib import Path

from mkdocs.structure.files import File

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
IN_THE_REPOSITORY, ON_THE_SITE = "../benchmarks/results/", "results/"


def on_files(files, config):
    """Add them as ``results/*.png``."""
    for picture in sorted(RESULTS.glob("*.png")):
        files.append(File.generated(config, ON_THE_SITE + picture.name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, **_):
    """Point to them there."""
    return markdown.replace(IN_THE_REPOSITORY, ON_THE_SITE)
