"""The project imports jaxopt, which need not be there: `test_project` reads its files."""

collect_ignore = ["project"]
