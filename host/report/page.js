/* SPDX-License-Identifier: Apache-2.0
 * Sorting, filtering, frontier and histograms of reports. The names of files are set as text, never as markup. */
"use strict";
(function () {
  var data = JSON.parse(document.getElementById("data").textContent);
  var by = function (id) { return document.getElementById(id); };

  /* Sorting: numbers by data-v, texts by what is shown; absent values last in both directions. */
  function key(row, column, numeric) {
    var cell = row.cells[column];
    if (!numeric) return cell.textContent.toLowerCase();
    var v = cell.getAttribute("data-v");
    return v === null || v === "" ? null : Number(v);
  }
  function sort(table, column) {
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells), body = table.tBodies[0];
    var head = heads[column], numeric = head.classList.contains("n") || head.classList.contains("v");
    var now = head.getAttribute("aria-sort");
    var down = now === "none" ? numeric && column > 0 : now === "ascending";
    heads.forEach(function (h) { if (h.hasAttribute("aria-sort")) h.setAttribute("aria-sort", "none"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    var rows = Array.prototype.slice.call(body.rows).map(function (row, i) { return { row: row, i: i, k: key(row, column, numeric) }; });
    rows.sort(function (a, b) {
      if (a.k === b.k) return a.i - b.i;
      if (a.k === null) return 1;
      if (b.k === null) return -1;
      return (a.k < b.k ? -1 : 1) * (down ? -1 : 1);
    });
    rows.forEach(function (r) { body.appendChild(r.row); });
  }
  Array.prototype.forEach.call(document.querySelectorAll("table.sortable"), function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, i) {
      var button = head.querySelector("button");
      if (button) button.addEventListener("click", function () { sort(table, i); });
    });
  });
  var body = by("layers").tBodies[0];

  var filter = by("filter"), shown = by("shown");
  function apply() {
    var want = filter.value.toLowerCase(), n = 0;
    Array.prototype.forEach.call(body.rows, function (row) {
      row.hidden = want !== "" && row.textContent.toLowerCase().indexOf(want) < 0;
      n += row.hidden ? 0 : 1;
    });
    shown.textContent = n + " of " + body.rows.length + " layers";
  }
  filter.addEventListener("input", apply);
  apply();

  /* Histograms. */
  var SVG = "http://www.w3.org/2000/svg", W = 960, H = 280, LEFT = 10, RIGHT = 10, TOP = 26, BOTTOM = 30;
  var select = by("tensor"), log = by("log"), plot = by("plot"), note = by("note"), ranges = by("ranges");
  function node(name, attributes, text) {
    var e = document.createElementNS(SVG, name);
    Object.keys(attributes).forEach(function (k) { e.setAttribute(k, attributes[k]); });
    if (text !== undefined) e.textContent = text;
    return e;
  }
  function show(x) { return x === null ? "-" : String(Number(x.toPrecision(4))); }

  /* The frontier: a dot per row of its table, speed-up over SQNR; rows without any error stand at the right edge. */
  function mark(dot, row, on) {
    dot.classList.toggle("at", on);
    row.classList.toggle("at", on);
  }
  function frontier(rows) {
    var svg = node("svg", { viewBox: "0 0 " + W + " 360", role: "group", "aria-label": "Speed-up over output SQNR" }), least = Infinity, most = -Infinity, fast = 1;
    var points = rows.map(function (row) { return { row: row, db: key(row, 1, true), speed: key(row, 5, true) }; });
    points.forEach(function (p) {
      fast = Math.max(fast, p.speed);
      if (p.db === null || p.db === 999) return;
      least = Math.min(least, Math.floor(p.db / 5) * 5);
      most = Math.max(most, Math.ceil(p.db / 5) * 5);
    });
    if (!(most > least)) { least = isFinite(least) ? least - 5 : 0; most = least + 10; }
    function x(db) { return 50 + (db === 999 ? 1 : Math.max(0, db - least) / (most - least) * .93) * (W - 80); }
    function y(speed) { return 310 - speed / (fast * 1.1) * 290; }
    svg.appendChild(node("line", { "class": "axis", x1: 50, x2: W - 20, y1: 310, y2: 310 }));
    svg.appendChild(node("line", { "class": "axis", x1: 50, x2: 50, y1: 20, y2: 310 }));
    svg.appendChild(node("line", { "class": "other", x1: 50, x2: W - 20, y1: y(1), y2: y(1) }));
    for (var db = least; db <= most; db += 5) svg.appendChild(node("text", { x: x(db), y: 328, "text-anchor": "middle" }, db + " dB"));
    for (var v = 0; v <= fast; v += fast > 4 ? 1 : .5) svg.appendChild(node("text", { x: 44, y: y(v) + 4, "text-anchor": "end" }, v + "\u00d7"));
    svg.appendChild(node("text", { x: x(999), y: 328, "text-anchor": "middle" }, "exact"));
    var label = node("text", { x: W / 2, y: 350, "text-anchor": "middle", "aria-live": "polite" });
    points.forEach(function (p) {
      var row = p.row, text = row.cells[0].textContent + ": " + row.cells[1].textContent + ", " + row.cells[5].textContent + ", " + row.cells[6].textContent;
      var dot = node("circle", { "class": "dot" + (row.classList.contains("best") ? " best" : "") + (row.getAttribute("data-policy") === "measured" ? " ours" : ""),
        cx: x(p.db), cy: y(p.speed), r: 6, tabindex: 0, role: "img", "aria-label": text });
      dot.appendChild(node("title", {}, text));
      function at() { mark(dot, row, true); label.textContent = text; }
      function away() { mark(dot, row, false); label.textContent = ""; }
      [dot, row].forEach(function (e) {
        e.addEventListener("mouseenter", at);
        e.addEventListener("mouseleave", away);
        e.addEventListener("focus", at);
        e.addEventListener("blur", away);
      });
      dot.addEventListener("click", function () { row.focus(); });
      svg.appendChild(dot);
    });
    svg.appendChild(label);
    return svg;
  }
  if (by("points")) by("frontier").appendChild(frontier(Array.prototype.slice.call(by("points").tBodies[0].rows)));

  function draw(t) {
    var h = t.hist, chosen = t.ranges[t.method], svg = node("svg", { viewBox: "0 0 " + W + " " + H, role: "img" });
    var lo = Math.min(h ? h.lo : chosen[0], chosen[0]), hi = Math.max(h ? h.lo + h.step * h.counts.length : chosen[1], chosen[1]);
    if (!(hi > lo)) hi = lo + 1;
    function x(v) { return LEFT + (Math.min(hi, Math.max(lo, v)) - lo) / (hi - lo) * (W - LEFT - RIGHT); }
    function level(c) { return log.checked ? Math.log(1 + c) : c; }
    var left = x(chosen[0]), right = x(chosen[1]), most = 0;
    svg.appendChild(node("rect", { "class": "inside", x: left, y: TOP, width: Math.max(0, right - left), height: H - TOP - BOTTOM }));
    if (h) {
      h.counts.forEach(function (c) { most = Math.max(most, level(c)); });
      h.counts.forEach(function (c, i) {
        if (c === 0) return;
        var a = x(h.lo + i * h.step), b = x(h.lo + (i + 1) * h.step), y = level(c) / most * (H - TOP - BOTTOM);
        svg.appendChild(node("rect", { "class": "count", x: a, y: H - BOTTOM - y, width: Math.max(.5, b - a - .5), height: y }));
      });
    }
    data.methods.forEach(function (name, m) {
      var r = t.ranges[m];
      if (r === null) return;
      r.slice(0, 2).forEach(function (v) {
        svg.appendChild(node("line", { "class": m === t.method ? "edge" : "other", x1: x(v), x2: x(v), y1: TOP, y2: H - BOTTOM }));
      });
    });
    svg.appendChild(node("line", { "class": "axis", x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM }));
    [0, .25, .5, .75, 1].forEach(function (f) {
      var v = lo + f * (hi - lo);
      svg.appendChild(node("text", { x: x(v), y: H - 10, "text-anchor": f === 0 ? "start" : f === 1 ? "end" : "middle" }, show(v)));
    });
    svg.appendChild(node("text", { x: (left + right) / 2, y: 17, "text-anchor": right - left < 120 && left < 80 ? "start" : "middle" },
      "chosen: " + show(chosen[0]) + " to " + show(chosen[1])));
    svg.setAttribute("aria-label", "Histogram of " + t.name + ", chosen range " + show(chosen[0]) + " to " + show(chosen[1]) + " by " + data.methods[t.method]);
    return svg;
  }

  function describe(t, own) {
    var s = (own === t ? "" : "Shares scale and zero point with " + t.name + ". ") + "Scale " + show(t.scale) + ", zero point " + t.zero_point + ". ";
    s += own.quantized ? "It is held in 8 bits somewhere." : "It stays in float32 everywhere.";
    if (t.hist) s += " " + t.count + " values were seen, from " + show(t.min) + " to " + show(t.max) + ".";
    else s += " There is no histogram: its values were not seen in this run.";
    return s;
  }

  function pick() {
    var own = data.tensors[Number(select.value)];
    if (!own) return;
    var t = data.tensors[own.group];
    plot.replaceChildren(draw(t));
    note.textContent = describe(t, own);
    ranges.replaceChildren();
    data.methods.forEach(function (name, m) {
      var r = t.ranges[m], row = ranges.insertRow();
      if (m === t.method) row.className = "chosen";
      var head = document.createElement("th");
      head.scope = "row";
      head.textContent = name + (m === t.method ? " (chosen)" : "");
      row.appendChild(head);
      [r ? show(r[0]) : "-", r ? show(r[1]) : "-", r && r[2] !== null ? show(100 * r[2]) + " %" : "-", t.errors[m] === null ? "-" : t.errors[m].toExponential(2)]
        .forEach(function (text) {
          var cell = row.insertCell();
          cell.className = "n";
          cell.textContent = text;
        });
    });
  }
  data.tensors.forEach(function (t, i) {
    var option = document.createElement("option");
    option.value = String(i);
    option.textContent = t.name;
    select.appendChild(option);
  });
  select.addEventListener("change", pick);
  log.addEventListener("change", pick);
  body.addEventListener("click", function (event) {
    var button = event.target.closest("button[data-t]");
    if (!button) return;
    select.value = button.getAttribute("data-t");
    pick();
    select.focus();
    by("tensors").scrollIntoView();
  });
  pick();
})();
