// Plays what gdjax recorded. Nothing is descended here: `runs` holds every point, and the words at the end.
"use strict";
const lessons = JSON.parse(document.getElementById("runs").textContent);
const $ = (query, from = document) => from.querySelector(query);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const LOOKS = { // shape of the points, dashes of the line: series do not differ in colour alone
  descent: ["circle", ""], momentum: ["square", "6 3"], adam: ["up", "8 3 2 3"], bb: ["diamond", "2 3"],
  lbfgs: ["down", ""], trust: ["plus", "10 4"], escape: ["cross", "4 2"],
};
const GOOD = ["CONVERGED", "TARGET_REACHED", "PRECISION_FLOOR"];
let lesson, step = 0, shown = 0, timer = null; // shown follows step while the ball slides

// ---- what is recorded
const run = (method) => method.runs[method.rates ? method.rate : 0];
const last = (method) => run(method).f.length - 1;
const on = () => lesson.methods.filter((method) => method.on);
const longest = () => Math.max(0, ...on().map(last));
const point = (r, k) => r.x.slice(k * lesson.names.length, (k + 1) * lesson.names.length);
const evaluations = (r, k) => (r.e ? r.e[k] : k + 1);

function between(method, t) { // where the ball is at step t, which need not be whole
  const r = run(method), k = Math.min(Math.floor(t), last(method)), next = Math.min(k + 1, last(method));
  const [a, b] = [point(r, k), point(r, next)], part = Math.min(t - k, 1);
  return a.map((v, i) => v + part * (b[i] - v));
}

function height(x) { // of the recorded curve
  const [xs, ys] = lesson.curve, at = (x - xs[0]) / (xs[1] - xs[0]);
  const i = Math.min(Math.max(Math.floor(at), 0), xs.length - 2);
  return ys[i] + (at - i) * (ys[i + 1] - ys[i]);
}

function short(v, digits = 5) {
  if (v === 0) return "0";
  const text = Math.abs(v) >= 1e6 || Math.abs(v) < 1e-4 ? v.toExponential(2) : String(Number(v.toPrecision(digits)));
  return text.replace("-", "−").replace("e+", "e").replace("e-", "e−");
}

// ---- pictures
const SHAPES = {
  circle: (s) => `<circle r="${s}"/>`,
  square: (s) => `<rect x="${-s}" y="${-s}" width="${2 * s}" height="${2 * s}"/>`,
  up: (s) => `<path d="M0 ${-1.2 * s}L${1.2 * s} ${s}H${-1.2 * s}Z"/>`,
  down: (s) => `<path d="M0 ${1.2 * s}L${1.2 * s} ${-s}H${-1.2 * s}Z"/>`,
  diamond: (s) => `<path d="M0 ${-1.4 * s}L${1.4 * s} 0L0 ${1.4 * s}L${-1.4 * s} 0Z"/>`,
  plus: (s) => `<path d="M${-s / 2} ${-1.3 * s}h${s}v${0.8 * s}h${0.8 * s}v${s}h${-0.8 * s}v${0.8 * s}h${-s}v${-0.8 * s}h${-0.8 * s}v${-s}h${0.8 * s}Z"/>`,
  cross: (s) => `<g transform="rotate(45)">${SHAPES.plus(s)}</g>`,
};
const mark = (method, x, y, size, kind) =>
  `<g class="${kind}" style="--c:var(--${method.key})" transform="translate(${x.toFixed(1)} ${y.toFixed(1)})">${SHAPES[LOOKS[method.key][0]](size)}</g>`;

function ticks(low, high, most) {
  const raw = (high - low) / most, ten = 10 ** Math.floor(Math.log10(raw));
  const gap = [1, 2, 5, 10].map((m) => m * ten).find((g) => g >= raw), out = [];
  for (let i = Math.ceil(low / gap); i * gap <= high + 1e-9; i++) out.push(Number((i * gap).toPrecision(6)));
  return out;
}

class Picture { // a frame with axes; px and py turn numbers into places
  constructor(svg, xspan, yspan, shape, names) {
    this.svg = svg;
    this.w = Math.max(svg.parentNode.clientWidth, 200);
    this.h = Math.round(Math.min(Math.max(this.w * shape, 190), 430));
    [this.x0, this.x1] = xspan; [this.y0, this.y1] = yspan;
    this.left = 46; this.right = this.w - 10; this.top = 8; this.bottom = this.h - 38;
    this.names = names; this.inner = ""; this.outer = "";
  }
  clamp(v) { return Math.min(Math.max(v, -4000), 4000); }
  px(x) { return this.clamp(this.left + (this.right - this.left) * (x - this.x0) / (this.x1 - this.x0)); }
  py(y) { return this.clamp(this.bottom - (this.bottom - this.top) * (y - this.y0) / (this.y1 - this.y0)); }
  line(points, kind, style = "") {
    this.inner += `<path class="${kind}" style="${style}" d="M${points.map(([x, y]) => `${this.px(x).toFixed(1)} ${this.py(y).toFixed(1)}`).join("L")}"/>`;
  }
  descent(method, points, size = 3, chords = false) {
    const style = `--c:var(--${method.key});stroke-dasharray:${LOOKS[method.key][1] || "none"}`;
    if (points.length > 1 && chords) this.line(points, "trail chord", style);
    else if (points.length > 1) { this.line(points, "halo"); this.line(points, "trail", style); }
    for (const [x, y] of size ? points.slice(0, -1) : []) this.inner += mark(method, this.px(x), this.py(y), size, "mark");
    const [x, y] = points.at(-1), there = [this.px(x), this.py(y)];
    const gap = size ? 7 : 0;
    const edge = [Math.min(Math.max(there[0], this.left + gap), this.right - gap), Math.min(Math.max(there[1], this.top + gap), this.bottom - gap)];
    const outside = size && Math.hypot(there[0] - edge[0], there[1] - edge[1]) > 8;
    this.outer += outside ? `<g opacity="0.55">${mark(method, ...edge, 5, "head")}</g>` : mark(method, ...(size ? there : edge), size ? 7 : 4, "head");
  }
  draw(yticks) {
    const clip = `clip-${this.svg.parentNode.id}`, middle = (this.left + this.right) / 2;
    let grid = "";
    for (const v of ticks(this.x0, this.x1, this.w / 75)) {
      const x = this.px(v).toFixed(1);
      grid += `<path class="grid" d="M${x} ${this.top}V${this.bottom}"/><text x="${x}" y="${this.bottom + 16}" text-anchor="middle">${short(v)}</text>`;
    }
    for (const [v, text] of yticks || ticks(this.y0, this.y1, this.h / 55).map((t) => [t, short(t)])) {
      const y = this.py(v).toFixed(1);
      grid += `<path class="grid" d="M${this.left} ${y}H${this.right}"/><text x="${this.left - 6}" y="${+y + 4}" text-anchor="end">${text}</text>`;
    }
    this.svg.setAttribute("viewBox", `0 0 ${this.w} ${this.h}`);
    this.svg.innerHTML = `<clipPath id="${clip}"><rect x="${this.left}" y="${this.top}" width="${this.right - this.left}" height="${this.bottom - this.top}"/></clipPath>`
      + `${this.below || ""}${grid}<g clip-path="url(#${clip})">${this.inner}</g><rect class="frame" x="${this.left}" y="${this.top}" width="${this.right - this.left}" height="${this.bottom - this.top}"/>${this.outer}`
      + `<text x="${middle}" y="${this.h - 5}" text-anchor="middle">${this.names[0]}</text>`
      + (this.names[1] ? `<text transform="translate(11 ${(this.top + this.bottom) / 2}) rotate(-90)" text-anchor="middle">${this.names[1]}</text>` : "");
  }
}

function trail(method, t) { // the points up to step t and the ball
  const r = run(method), points = [];
  for (let k = 0; k <= Math.min(Math.floor(t), last(method)); k++) points.push(point(r, k));
  return t < last(method) || t === 0 ? [...points, between(method, t)] : points.length ? [...points, points.at(-1)] : points;
}

function drawLoss() {
  const svg = $("#loss svg"), two = lesson.names.length === 2;
  const p = new Picture(svg, lesson.span[0], lesson.span[1], lesson.data ? 0.85 : 0.6, two ? lesson.names : [lesson.names[0], "loss"]);
  if (two) {
    const [w, h] = [(p.right - p.left) / 1000, (p.bottom - p.top) / 1000];
    p.inner = `<g transform="translate(${p.left} ${p.top}) scale(${w} ${h})">${lesson.surface.map((d) => `<path class="region" fill-rule="evenodd" d="${d}"/>`).join("")}</g>`;
  } else p.line(lesson.curve[0].map((x, i) => [x, lesson.curve[1][i]]), "curve");
  if (lesson.goal) {
    const [x, y] = two ? lesson.goal : [lesson.goal[0], height(lesson.goal[0])];
    p.inner += `<path class="goal" transform="translate(${p.px(x)} ${p.py(y)})" d="M0-9L2.1-2.9 8.6-2.8 3.4 1.1 5.3 7.3 0 3.6-5.3 7.3-3.4 1.1-8.6-2.8-2.1-2.9Z"/>`;
  }
  for (const method of on()) {
    const points = trail(method, shown);
    p.descent(method, two ? points : points.map(([x], i) => [x, i === points.length - 1 ? height(x) : run(method).f[i]]), 3, !two);
  }
  p.draw();
}

function drawFit() {
  if (!lesson.data) return;
  const [xs, ys] = lesson.data;
  const p = new Picture($("#fit svg"), [-0.3, 4.3], [Math.min(...ys) - 2, Math.max(...ys) + 1], 0.85, ["x", "y"]);
  for (const method of on()) {
    const [a, b] = between(method, shown);
    const style = `--c:var(--${method.key});stroke-dasharray:${LOOKS[method.key][1] || "none"};stroke-width:2.4`;
    p.line([[-0.3, a - 0.3 * b], [4.3, a + 4.3 * b]], "trail", style);
  }
  p.inner += xs.map((x, i) => `<circle class="dot" r="4" cx="${p.px(x)}" cy="${p.py(ys[i])}"/>`).join("");
  p.draw();
}

function drawCourse() {
  const floor = -9, rise = (f) => Math.max(Math.log10(Math.max(f - lesson.lowest, 1e-300)), floor);
  const start = run(lesson.methods[0]).f[0], top = Math.ceil(rise(start)) + 1, ends = Math.max(10, longest());
  const p = new Picture($("#course svg"), [0, ends], [floor, top], 0.3, ["steps", ""]);
  for (const method of on()) {
    const upto = Math.min(Math.floor(shown), last(method));
    p.descent(method, run(method).f.slice(0, upto + 1).map((f, k) => [k, rise(f)]), 0);
  }
  const marks = [];
  for (let e = floor; e <= top; e += 3) marks.push([e, `10<tspan dy="-4" font-size="9">${String(e).replace("-", "−")}</tspan>`]);
  p.draw(marks);
}

// ---- words
const where = (xs) => lesson.names.map((name, i) => `${name} = ${short(xs[i])}`).join(", ");

function write() {
  for (const method of lesson.methods) {
    const row = method.row, r = run(method), k = Math.min(step, last(method));
    row.classList.toggle("on", method.on);
    if (method.rates) {
      const verdict = method.verdicts ? method.verdicts[method.rate] : "";
      $(".rate b", row).textContent = short(method.rates[method.rate], 3);
      $(".verdict", row).textContent = verdict && ` (${verdict})`;
      $(".rate input", row).setAttribute("aria-valuetext", `${method.rates[method.rate]}${verdict && ", " + verdict}`);
    }
    $(".now", row).textContent = `Step ${k}: ${where(point(r, k))}; loss ${short(r.f[k])}; ${evaluations(r, k)} evaluation${evaluations(r, k) > 1 ? "s" : ""}`;
    $(".now", row).dataset.point = point(r, k).join(" ");
    const sum = $(".sum", row), slope = r.g && k ? r.g[k - 1] : null;
    sum.hidden = slope === null;
    if (slope !== null) {
      const minus = `${short(method.rates[method.rate], 3)} × ${slope < 0 ? `(${short(slope)})` : short(slope)}`;
      sum.textContent = `${short(point(r, k - 1)[0])} − ${minus} = ${short(point(r, k)[0])}`;
    }
    const end = $(".end", row);
    end.hidden = step < last(method);
    end.className = `end ${GOOD.includes(r.status) ? "good" : "bad"}`;
    end.innerHTML = "<b></b> <span></span>";
    $("b", end).textContent = `${r.status}:`;
    $("span", end).textContent = r.words;
  }
  $("#run").textContent = timer === null ? "Run" : "Pause";
  $("#step").disabled = $("#run").disabled = step >= longest();
  $("#reset").disabled = step === 0;
  $("#loss figcaption").textContent = lesson.names.length === 2 ? "The loss: the deeper the blue, the lower" : "The loss";
  $("#course figcaption").textContent = lesson.lowest ? `Loss above the lowest found (${short(lesson.lowest)})` : "Loss at each step";
}

function say() {
  const lines = on().map((method) => {
    const r = run(method), k = Math.min(step, last(method));
    return `${method.name}: ${k === last(method) ? r.status : `step ${k}, ${where(point(r, k))}, loss ${short(r.f[k])}`}`;
  });
  $("#said").textContent = lines.length ? lines.join(". ") + "." : "Tick a method.";
}

function draw() { drawLoss(); drawFit(); drawCourse(); }
function refresh() { stop(); step = Math.min(step, longest()); shown = step; write(); say(); draw(); }

// ---- play
function stop() { if (timer !== null) { clearTimeout(timer); timer = null; } }

let slide = 0;
function glide(to, ms) { // the ball slides to step `to`
  cancelAnimationFrame(slide);
  if (calm.matches || ms < 40) { shown = to; draw(); return; }
  const from = shown, begin = performance.now();
  const frame = (now) => {
    const part = Math.min(Math.max((now - begin) / ms, 0), 1); // a frame may have begun before
    shown = from + (to - from) * part * (2 - part);
    if (part === 1) shown = to;
    draw();
    if (part < 1) slide = requestAnimationFrame(frame);
  };
  slide = requestAnimationFrame(frame);
}

function forward(ms) { step = Math.min(step + 1, longest()); glide(step, ms); write(); }

function play() {
  if (step >= longest()) { stop(); write(); say(); return; }
  const ms = step < 8 ? 320 : 90;
  forward(ms * 0.8);
  timer = setTimeout(play, ms);
  write();
}

$("#step").onclick = () => { stop(); forward(260); say(); };
$("#reset").onclick = () => { cancelAnimationFrame(slide); step = 0; refresh(); };
$("#run").onclick = () => {
  if (timer !== null) { stop(); write(); say(); }
  else if (calm.matches) { step = longest(); refresh(); }
  else { $("#said").textContent = "Running."; play(); }
};

// ---- build
function build(chosen) {
  stop(); cancelAnimationFrame(slide);
  lesson = chosen; step = shown = 0;
  if (lesson.lowest === undefined) { // of all runs; what is zero but for rounding counts as zero
    const lowest = Math.min(...lesson.methods.flatMap((m) => m.runs.flatMap((r) => r.f)));
    lesson.lowest = Math.abs(lowest) < 1e-9 ? 0 : lowest;
  }
  $("#title").textContent = lesson.title; $("#formula").textContent = lesson.formula; $("#text").textContent = lesson.text;
  $("#fit").hidden = !lesson.data;
  $(".pictures").classList.toggle("two", Boolean(lesson.data));
  const list = $(".methods");
  list.textContent = "";
  for (const method of lesson.methods) {
    method.on ??= ["descent", "escape"].includes(method.key);
    if (method.rates) method.rate ??= method.key === "descent" ? lesson.presets[1][1] : Math.floor(method.rates.length / 2);
    list.append(method.row = makeRow(method));
  }
  refresh();
}

function makeRow(method) {
  const row = document.createElement("section"), style = `--c:var(--${method.key})`;
  row.className = "row"; row.dataset.method = method.key;
  row.innerHTML = `<label class="name"><input type="checkbox"><svg viewBox="0 0 30 14" aria-hidden="true"><path class="trail" style="${style};stroke-dasharray:${LOOKS[method.key][1] || "none"}" d="M0 7H30"/>${mark(method, 15, 7, 4.5, "head")}</svg><span></span></label>`
    + (method.rates ? `<label class="rate">Rate <b></b><span class="verdict"></span><input type="range" min="0" max="${method.rates.length - 1}"></label>` : "")
    + (method.key === "descent" ? `<div class="presets" role="group" aria-label="Rates to try"></div>` : "")
    + `<p class="now"></p><p class="sum" hidden></p><p class="end" hidden></p>`;
  $(".name span", row).textContent = method.name;
  const box = $(".name input", row);
  box.checked = method.on;
  box.onchange = () => { method.on = box.checked; refresh(); };
  if (method.rates) {
    const slider = $(".rate input", row);
    slider.value = method.rate;
    slider.setAttribute("aria-label", `Rate of ${method.name}`);
    slider.oninput = () => { method.rate = Number(slider.value); refresh(); };
    if (method.key === "descent") for (const [name, place] of lesson.presets) {
      const button = document.createElement("button");
      button.type = "button"; button.textContent = name;
      button.onclick = () => { method.rate = place; slider.value = place; step = 0; refresh(); };
      $(".presets", row).append(button);
    }
  }
  return row;
}

for (const one of lessons) {
  const label = document.createElement("label");
  label.innerHTML = `<input type="radio" name="lesson"><span></span>`;
  $("span", label).textContent = one.title;
  const radio = $("input", label);
  radio.value = one.key;
  radio.onchange = () => { build(one); history.replaceState(null, "", `#${one.key}`); };
  $("#lessons").append(label);
}
const asked = lessons.find((one) => `#${one.key}` === location.hash) || lessons[0];
$(`#lessons input[value=${asked.key}]`).checked = true;
build(asked);
new ResizeObserver(draw).observe($("#loss"));
