
"use strict";
(() => {
  // data.tokens[row] = [id, text, special, hex?]; a mask is run lengths: masked, trained, masked, ...
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const number = (n) => n.toLocaleString("en");
  const percent = (part, whole) => (whole ? (100 * part / whole).toFixed(part && part < whole ? 1 : 0) + " %" : "–");
  const SVG = "http://www.w3.org/2000/svg";

  /** An element with a class and children; strings become text nodes, never markup. */
  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  function shape(tag, attributes, ...children) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  function button(className, action, ...children) {
    const node = make("button", className, ...children);
    node.type = "button";
    node.addEventListener("click", action);
    return node;
  }
  const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);
  const isBreak = (text) => text.includes("\n");

  // ---- state --------------------------------------------------------------------------------------------
  const state = { tab: "sessions", index: -1, view: "tokens", token: -1, pinned: false, query: "", source: "", reason: "" };
  let shown = []; // indices of the sequences that pass the filters
  let open = null; // what `unfold` made of the open sequence

  function remember() {
    const where = state.tab === "sessions" ? `${state.index}/${state.view}${state.pinned ? "/" + state.token : ""}` : "";
    history.replaceState(null, "", `#/${state.tab}${where ? "/" + where : ""}`);
  }

  // ---- one sequence: tokens, units (whole characters), turns, spans --------------------------------------
  function maskOf(lengths, size) {
    const mask = new Uint8Array(size);
    let at = 0;
    lengths.forEach((length, i) => { if (i % 2) mask.fill(1, at, at + length); at += length; });
    return mask;
  }

  function unfold(seq) {
    const size = seq.rows.length;
    const mask = maskOf(seq.mask, size);
    const joined = new Map(seq.groups.map((group) => [group[0], group]));
    const units = [];
    const unitOf = new Int32Array(size);
    for (let i = 0; i < size;) {
      const [, stop, text] = joined.get(i) || [i, i + 1, data.tokens[seq.rows[i]][1]];
      unitOf.fill(units.length, i, stop);
      units.push({ start: i, stop, text, special: data.tokens[seq.rows[i]][2] === 1, trained: mask.subarray(i, stop).includes(1) });
      i = stop;
    }
    const isStop = (i) => data.tokens[seq.rows[i]][2] === 1 && mask[i] === 1 && mask[i + 1] !== 1;
    const turns = seq.turns.map(([start, role], i) => ({ start, role, stop: i + 1 < seq.turns.length ? seq.turns[i + 1][0] : size }));
    const spanAt = (i) => seq.spans.find(([start, stop]) => start <= i && i < stop);
    return { seq, size, mask, units, unitOf, turns, isStop, spanAt };
  }

  /** The whole text in lower case, for the search; made once for each sequence. */
  function searchable(seq) {
    if (seq.found === undefined) {
      const joined = new Map(seq.groups.map((group) => [group[0], group]));
      const parts = [seq.title, "\n", seq.item, "\n", seq.source, "\n", seq.note, "\n"];
      for (let i = 0; i < seq.rows.length;) {
        const [, stop, text] = joined.get(i) || [i, i + 1, data.tokens[seq.rows[i]][1]];
        parts.push(text);
        i = stop;
      }
      for (const why of new Set(seq.spans.map((span) => span[3]))) parts.push("\n", why);
      seq.found = parts.join("").toLowerCase();
    }
    return seq.found;
  }

  // ---- strips -------------------------------------------------------------------------------------------
  function strip(seq) {
    const size = Math.max(seq.rows.length, 1);
    const svg = shape("svg", { class: "strip", viewBox: `0 0 ${size} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
    let at = 0, path = "";
    seq.mask.forEach((length, i) => { if (i % 2) path += `M${at} 0h${length}v10h-${length}z`; at += length; });
    svg.append(shape("path", { class: "s-t", d: path || "M0 0" }));
    return svg;
  }

  // ---- list of sequences --------------------------------------------------------------------------------
  function drawList() {
    const list = byId("list");
    const rows = [];
    let source = null;
    const count = new Map();
    for (const i of shown) count.set(data.sequences[i].source, (count.get(data.sequences[i].source) || 0) + 1);
    for (const i of shown) {
      const seq = data.sequences[i];
      if (seq.source !== source) {
        source = seq.source;
        rows.push(make("h3", "group-name", make("bdi", "", source), make("span", "", number(count.get(source)))));
      }
      const name = make("bdi", "name", seq.title || seq.item);
      name.dir = "auto";
      const meta = make("span", "meta", make("span", "", seq.item), make("span", "", `${number(seq.trained)} / ${number(seq.size)}`));
      const entry = button("entry", () => choose(i), name, meta, strip(seq));
      entry.dataset.index = i;
      entry.setAttribute("aria-current", String(i === state.index));
      rows.push(entry);
    }
    if (!shown.length) rows.push(make("p", "empty", make("strong", "", "Nothing matches"), "Clear the search or choose another source or reason."));
    if (data.left_out.sequences) rows.push(make("p", "empty", `${number(data.left_out.sequences)} more sequences are in the build and not on this page, which is kept small.`));
    list.replaceChildren(...rows);
  }

  function choose(index, keepToken = false) {
    state.index = index;
    if (!keepToken) { state.token = -1; state.pinned = false; }
    open = index >= 0 ? unfold(data.sequences[index]) : null;
    for (const entry of byId("list").querySelectorAll(".entry")) {
      const current = Number(entry.dataset.index) === index;
      entry.setAttribute("aria-current", String(current));
      if (current) entry.scrollIntoView({ block: "nearest" });
    }
    drawReader();
    byId("reader").scrollTop = 0;
    remember();
  }

  // ---- reader -------------------------------------------------------------------------------------------
  function drawReader() {
    const reader = byId("reader");
    if (!open) {
      reader.replaceChildren(make("p", "empty", make("strong", "", "No sequence to show"), "This build holds none, or the filters hide them all."));
      drawInspector();
      return;
    }
    const { seq } = open;
    const title = make("h2", "", make("bdi", "", seq.title || seq.item));
    title.title = seq.title;
    const view = make("span", "switch");
    for (const [name, label] of [["text", "Text"], ["tokens", "Tokens"]]) {
      const choice = button("", () => setView(name), label);
      choice.setAttribute("aria-pressed", String(state.view === name));
      view.append(choice);
    }
    const line = make("p", "reader-line",
      make("span", "id", `${seq.source} · ${seq.item}`), make("span", "", seq.kind),
      make("span", "", make("b", "", number(seq.trained)), ` of ${number(seq.size)} tokens trained, ${percent(seq.trained, seq.size)}`), view);
    const ribbon = strip(seq);
    for (const turn of open.turns) if (turn.start) ribbon.append(shape("rect", { class: "turn-tick", x: turn.start - open.size / 900, y: 0, width: open.size / 450, height: 10 }));
    ribbon.append(shape("rect", { class: "here", x: -9, y: 0, width: open.size / 250, height: 10 }));
    ribbon.addEventListener("click", (event) => {
      const box = ribbon.getBoundingClientRect();
      pin(Math.min(open.size - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * open.size))));
    });
    const head = make("header", "reader-head", title, line, ribbon);
    const blocks = open.turns.map(state.view === "tokens" ? tokenTurn : textTurn);
    if (open.size < seq.size) blocks.push(make("p", "empty", `The first ${number(open.size)} of ${number(seq.size)} tokens are shown.`));
    reader.replaceChildren(head, ...(seq.note ? [make("p", "note", seq.note)] : []), ...blocks);
    highlight();
    drawInspector();
    markToken(false);
  }

  function setView(view) { state.view = view; drawReader(); remember(); }

  function turnBlock(turn, body) {
    const role = make("div", "role", make("bdi", "", turn.role || (open.seq.kind === "pretrain" ? "document" : "–")));
    const trained = sum(open.mask.subarray(turn.start, turn.stop));
    role.append(make("small", "", `${number(trained)} / ${number(turn.stop - turn.start)}`));
    const known = { system: "system", user: "user", assistant: "assistant", tool: "tool" }[turn.role];
    role.style.setProperty("--role", turn.role ? `var(--${known || "other"})` : "var(--soft)");
    return make("section", "turn", role, body);
  }
  const unitsOf = (turn) => (turn.stop > turn.start ? open.units.slice(open.unitOf[turn.start], open.unitOf[turn.stop - 1] + 1).filter((unit) => unit.start >= turn.start) : []);

  /** Text with its signs: line breaks faint, spelled-out characters in their own face. */
  function signs(text, spaces) {
    const nodes = [];
    for (const part of text.split(/(\n|⟨(?:U\+[0-9A-F]{4,6}|0x[0-9A-F]{2})⟩|⟨[A-Z0-9]{2,3}⟩|⇥|^ +)/)) {
      if (!part) continue;
      if (part === "\n") nodes.push(make("span", "nl", "⏎"), ...(spaces ? [] : ["\n"]));
      else if (/^ +$/.test(part) && spaces) nodes.push(make("span", "ws", "·".repeat(part.length)));
      else if (/^(⟨[A-Z0-9x+]+⟩|⇥)$/.test(part)) nodes.push(make("span", "esc", part));
      else nodes.push(part);
    }
    return nodes;
  }

  function textTurn(turn) {
    const body = make("div", "text");
    body.dir = "auto";
    let run = null, key = "";
    for (const unit of unitsOf(turn)) {
      const span = open.spanAt(unit.start);
      const here = `${unit.trained}/${span ? span[0] : ""}`;
      if (here !== key) {
        run = make("span", unit.trained ? "run t" : "run");
        body.append(run);
        key = here;
      }
      if (sum(open.mask.subarray(unit.start, unit.stop)) % (unit.stop - unit.start)) run.classList.add("mixed");
      const piece = unit.special ? make("span", open.isStop(unit.start) ? "mark stop" : "mark", unit.text) : make("span", "unit", ...signs(unit.text, false));
      piece.dataset.i = unit.start;
      run.append(piece);
    }
    return turnBlock(turn, body);
  }

  function tokenTurn(turn) {
    const body = make("div", "tokens");
    body.dir = "ltr";
    for (const unit of unitsOf(turn)) {
      const box = make("span", "tok", ...(unit.text ? signs(unit.text, true) : [make("span", "ws", "∅")]));
      box.dataset.i = unit.start;
      if (unit.trained) box.classList.add("t");
      if (unit.special) box.classList.add("sp");
      if (open.isStop(unit.start)) box.classList.add("stop");
      if (unit.stop - unit.start > 1) {
        box.classList.add("multi");
        const feet = make("i", "feet");
        for (let i = unit.start; i < unit.stop; i++) {
          const foot = make("i", open.mask[i] ? "t" : "");
          foot.dataset.i = i;
          feet.append(foot);
        }
        box.append(feet);
      }
      body.append(box);
      if (isBreak(unit.text)) body.append(make("br"));
    }
    return turnBlock(turn, body);
  }

  // ---- one token: hover shows, a click or an arrow key holds ---------------------------------------------
  function pin(i) { state.token = i; state.pinned = true; drawInspector(); markToken(true); remember(); }
  function peek(i) { if (!state.pinned && i !== state.token) { state.token = i; drawInspector(); markToken(false); } }
  function letGo() { state.token = -1; state.pinned = false; drawInspector(); markToken(false); remember(); }

  function markToken(scroll) {
    const reader = byId("reader");
    for (const node of reader.querySelectorAll(".now")) node.classList.remove("now");
    const here = reader.querySelector(".here");
    if (here) here.setAttribute("x", state.token < 0 ? -99 - open.size : Math.max(0, state.token - open.size / 500));
    if (state.token < 0 || !open) return;
    const unit = open.units[open.unitOf[state.token]];
    const node = reader.querySelector(`.turn [data-i="${unit.start}"]`);
    if (node) node.classList.add("now");
    const foot = reader.querySelector(`.feet > [data-i="${state.token}"]`);
    if (foot) foot.classList.add("now");
    if (scroll && node) node.scrollIntoView({ block: "nearest" });
  }

  const hexOf = (row) => {
    const [, text, , hex] = data.tokens[row];
    const plain = hex !== undefined ? hex : [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return plain.replace(/../g, "$& ").trim().toUpperCase();
  };

  function drawInspector() {
    const panel = byId("inspector");
    if (!open || state.token < 0 || state.token >= open.size) {
      panel.replaceChildren(make("p", "hint", open ? "Point at a token to see its id, its bytes, and why it is trained or masked. Click to hold it; the arrow keys walk on from there." : ""));
      return;
    }
    const i = state.token, { seq, mask, units, unitOf, isStop } = open;
    const unit = units[unitOf[i]], row = seq.rows[i], [id, text, special] = data.tokens[row];
    const span = open.spanAt(i), several = unit.stop - unit.start > 1;
    const glyph = make("div", unit.text.length > 10 ? "glyph long" : "glyph", ...signs(unit.text.replace(/\n/g, "⏎") || "∅", true));
    glyph.dir = "auto";
    const verdict = make("span", mask[i] ? "verdict t" : "verdict", mask[i] ? "Trained" : "Masked");
    const why = (span && span[3]) || (mask[i] ? "A target of the loss." : "Context: the loss does not see it.");
    const details = make("dl", "details");
    const add = (name, value, className) => details.append(make("dt", "", name), make("dd", className || "", value));
    add("Token id", number(id).replace(/,/g, "\u2009"), "mono");
    add("Position", `${number(i)} of ${number(seq.size)}`);
    add("Bytes", hexOf(row) || "none", "mono");
    if (span && span[2]) add("Role", make("bdi", "", span[2]));
    if (special) add("Kind", isStop(i) ? (seq.kind === "pretrain" ? "document end" : "stop token") : "special token");
    else if (several) add("Kind", `part ${i - unit.start + 1} of ${unit.stop - unit.start}`);
    const nodes = [glyph, verdict, make("p", "why", why), details];
    if (several) {
      const siblings = make("div", "siblings", make("p", "", `These ${unit.stop - unit.start} tokens only together spell the text above.`));
      for (let k = unit.start; k < unit.stop; k++) {
        const words = [String(data.tokens[seq.rows[k]][0]), hexOf(seq.rows[k]), mask[k] ? "trained" : "masked"];
        const sibling = button(mask[k] ? "t" : "", () => pin(k), ...words.map((word) => make("span", "", word)));
        if (k === i) sibling.setAttribute("aria-current", "true");
        siblings.append(sibling);
      }
      nodes.push(siblings);
    }
    if (state.pinned) nodes.push(make("p", "hint", "Held. Esc lets go."));
    panel.replaceChildren(...nodes);
  }

  // ---- search highlights (where the browser can paint ranges) --------------------------------------------
  function highlight() {
    if (!window.Highlight || !CSS.highlights) return;
    CSS.highlights.delete("found");
    const query = state.query;
    if (!query || !open) return;
    const nodes = [], starts = [];
    let text = "";
    const walker = document.createTreeWalker(byId("reader"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest(".reader-head, .role, .note")) continue;
      nodes.push(node);
      starts.push(text.length);
      const kind = node.parentElement.className;
      text += kind === "ws" ? " ".repeat(node.length) : kind === "nl" && state.view === "tokens" ? "\n" : node.data.toLowerCase().padEnd(node.length).slice(0, node.length);
    }
    const locate = (at) => {
      let low = 0, high = starts.length - 1;
      while (low < high) { const middle = (low + high + 1) >> 1; if (starts[middle] <= at) low = middle; else high = middle - 1; }
      return [nodes[low], at - starts[low]];
    };
    const ranges = [];
    for (let at = text.indexOf(query); at >= 0 && ranges.length < 2000; at = text.indexOf(query, at + query.length)) {
      const range = new Range();
      range.setStart(...locate(at));
      const [last, offset] = locate(at + query.length - 1);
      range.setEnd(last, Math.min(last.length, offset + 1));
      ranges.push(range);
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }

  // ---- windows ------------------------------------------------------------------------------------------
  function windowFigure(win) {
    const size = sum(win.segments.map((segment) => segment[3]));
    const mask = maskOf(win.mask, size);
    const line = make("p", "seg-line", "\u00a0");
    const svg = shape("svg", { viewBox: `0 0 ${Math.max(size, 1)} 46`, preserveAspectRatio: "none", role: "group", "aria-label": `Window ${win.row}` });
    let at = 0;
    win.segments.forEach(([source, item, start, length], k) => {
      const trained = sum(mask.subarray(at, at + length));
      let path = "";
      for (let i = at; i < at + length; i++) {
        if (!mask[i]) continue;
        const from = i;
        while (i + 1 < at + length && mask[i + 1]) i++;
        path += `M${from} 10h${i + 1 - from}v36h-${i + 1 - from}z`;
      }
      const words = source === "" ? `Padding: ${number(length)} tokens, masked, a segment of its own` : `${source} · ${item} · tokens ${number(start)} to ${number(start + length)} of the item · ${number(trained)} of ${number(length)} trained`;
      const segment = shape("g", { class: source === "" ? "seg pad" : "seg", tabindex: "0", role: "img", "aria-label": words },
        shape("rect", { class: "body", x: at, y: 10, width: length, height: 36 }),
        shape("path", { class: "s-t", d: path || "M0 0" }),
        shape("rect", { class: "edge", x: at, y: 0, width: size / 1000, height: k ? 46 : 10 }),
        shape("rect", { class: "frame", x: at, y: 0, width: length, height: 46 }));
      const target = data.sequences.findIndex((seq) => seq.source === source && seq.item === item);
      const tell = () => {
        for (const other of svg.querySelectorAll(".now")) other.classList.remove("now");
        segment.classList.add("now");
        line.replaceChildren(make("bdi", "", words), ...(target >= 0 && source ? ["  ", button("", () => { setTab("sessions"); choose(target); }, "open")] : []));
      };
      segment.addEventListener("mouseenter", tell);
      segment.addEventListener("focus", tell);
      const visit = () => { if (target >= 0 && source) { setTab("sessions"); choose(target); } };
      segment.addEventListener("click", visit);
      segment.addEventListener("keydown", (event) => { if (event.key === "Enter") visit(); });
      svg.append(segment);
      at += length;
    });
    const padding = sum(win.segments.filter((segment) => segment[0] === "").map((segment) => segment[3]));
    const real = win.segments.filter((segment) => segment[0] !== "").length;
    const facts = `${win.kind} · ${number(real)} segments · ${number(sum(mask))} of ${number(size)} trained (${percent(sum(mask), size)})` + (padding ? ` · ${number(padding)} padding` : " · full");
    return make("figure", "window", make("header", "", make("h2", "", `Window ${win.row}`), make("p", "", facts)), svg, line);
  }

  function windowLegend() {
    const key = (name, words) => make("span", "", make("i", `swatch ${name}`), words);
    return make("p", "window-legend", key("s-t", "trained"), key("s-m", "masked"), key("s-p", "padding"), key("s-b", "a segment begins"),
      make("span", "", "Point at a segment for its item, click to open it."));
  }

  function drawWindows() {
    const fits = (win) => win.segments.some(([source, item]) =>
      (!state.source || source === state.source) && (!state.query || `${source} ${item}`.toLowerCase().includes(state.query)));
    const wins = data.windows.filter(fits);
    const nodes = state.tab === "windows" ? wins.map(windowFigure) : [];
    if (nodes.length) nodes.unshift(windowLegend());
    if (!wins.length) nodes.push(make("p", "empty", make("strong", "", "No window to show"), "No window holds a segment that the filters let through."));
    if (data.left_out.windows) nodes.push(make("p", "empty", `${number(data.left_out.windows)} more windows are not on this page.`));
    byId("windows").replaceChildren(...nodes);
    return wins.length;
  }

  // ---- set aside ----------------------------------------------------------------------------------------
  function drawAside() {
    const reason = state.reason.startsWith("aside:") ? state.reason.slice(6) : "";
    const rows = data.set_aside.filter((row) => (!state.source || row.source === state.source) && (!reason || row.reason === reason)
      && (!state.query || [row.source, row.item, row.place, row.reason, row.detail, row.row].join("\n").toLowerCase().includes(state.query)));
    const groups = new Map();
    for (const row of rows) groups.set(row.reason, [...(groups.get(row.reason) || []), row]);
    const nodes = [...groups].sort((a, b) => b[1].length - a[1].length).map(([name, members]) => {
      const block = make("section", "reason", make("header", "", make("h2", "", name.replace(/_/g, " ")), make("p", "", number(members.length))));
      for (const row of members) {
        const text = make("pre", "", row.row + (row.more ? `\n… ${number(row.more)} more characters` : ""));
        text.dir = "auto";
        block.append(make("div", "row", make("div", "where", make("b", "", make("bdi", "", row.item)), make("bdi", "", `${row.source} · ${row.place}`)),
          make("div", "", make("bdi", "", row.detail), ...(row.row ? [make("details", "", make("summary", "", "The row as it came"), text)] : []))));
      }
      return block;
    });
    if (!rows.length) nodes.push(make("p", "empty", make("strong", "", data.set_aside.length ? "Nothing matches" : "Nothing was set aside"), data.set_aside.length ? "Clear the search or choose another reason." : "Every row of the input is in the build."));
    if (data.left_out.set_aside) nodes.push(make("p", "empty", `${number(data.left_out.set_aside)} more rows are in the build's quarantine and not on this page.`));
    byId("aside").replaceChildren(...nodes);
    return rows.length;
  }

  // ---- tabs and filters ---------------------------------------------------------------------------------
  const TABS = ["sessions", "windows", "aside"];
  function setTab(tab) {
    state.tab = tab;
    for (const name of TABS) {
      byId(name).hidden = name !== tab;
      const control = byId("tab-" + name);
      control.setAttribute("aria-selected", String(name === tab));
      control.tabIndex = name === tab ? 0 : -1;
    }
    if (tab === "windows") drawWindows();
    remember();
  }

  function sessionFits(seq) {
    if (state.source && seq.source !== state.source) return false;
    if (state.reason.startsWith("why:") && !seq.spans.some((span) => span[3] === state.reason.slice(4))) return false;
    if (state.reason.startsWith("note:") && seq.note !== state.reason.slice(5)) return false;
    return !state.query || searchable(seq).includes(state.query);
  }

  function filter() {
    shown = data.sequences.map((_, i) => i).filter((i) => sessionFits(data.sequences[i]));
    const counts = { sessions: shown.length, windows: drawWindows(), aside: drawAside() };
    for (const name of TABS) byId("tab-" + name).querySelector("b").textContent = number(counts[name]);
    drawList();
    if (!shown.includes(state.index)) choose(shown.length ? shown[0] : -1);
    else highlight();
  }

  function fillSelects() {
    const option = (value, label) => { const node = make("option", "", label); node.value = value; return node; };
    const sources = new Set([...data.sequences, ...data.set_aside].map((row) => row.source));
    byId("source").append(option("", "All sources"), ...[...sources].map((name) => option(name, name)));
    const tally = (values) => { const counts = new Map(); for (const value of values) counts.set(value, (counts.get(value) || 0) + 1); return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 40); };
    const group = (label, prefix, counts) => {
      if (!counts.length) return [];
      const node = make("optgroup", "", ...counts.map(([name, count]) => option(prefix + name, `${name} (${number(count)})`)));
      node.label = label;
      return [node];
    };
    byId("reason").append(option("", "All reasons"),
      ...group("Policies that acted", "note:", tally(data.sequences.map((seq) => seq.note).filter(Boolean))),
      ...group("Set aside", "aside:", tally(data.set_aside.map((row) => row.reason))),
      ...group("Why trained or masked", "why:", tally(data.sequences.flatMap((seq) => [...new Set(seq.spans.map((span) => span[3]).filter(Boolean))]))));
  }

  // ---- keys, pointer, theme -----------------------------------------------------------------------------
  function step(by) {
    const at = shown.indexOf(state.index);
    const next = shown[Math.min(shown.length - 1, Math.max(0, at + by))];
    if (next !== undefined) choose(next);
  }
  function nextStop() {
    if (!open) return;
    for (let k = 1; k <= open.size; k++) {
      const i = (Math.max(state.token, -1) + k) % open.size;
      if (open.isStop(i)) { pin(i); return; }
    }
  }
  function walk(by) { if (open && open.size) pin(Math.min(open.size - 1, Math.max(0, state.token + by))); }

  const KEYS = {
    "/": () => byId("search").focus(), j: () => step(1), k: () => step(-1), n: nextStop,
    t: () => setView(state.view === "tokens" ? "text" : "tokens"), ArrowRight: () => walk(1), ArrowLeft: () => walk(-1), Escape: letGo,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.target.getAttribute("role") === "tab" && event.key.startsWith("Arrow")) {
      const next = TABS[(TABS.indexOf(state.tab) + (event.key === "ArrowRight" ? 1 : TABS.length - 1)) % TABS.length];
      setTab(next);
      byId("tab-" + next).focus();
      event.preventDefault();
      return;
    }
    const action = state.tab === "sessions" || event.key === "/" ? KEYS[event.key] : undefined;
    if (action) { event.preventDefault(); action(); }
  });
  byId("reader").addEventListener("mouseover", (event) => { const node = event.target.closest("[data-i]"); if (node) peek(Number(node.dataset.i)); });
  byId("reader").addEventListener("click", (event) => { const node = event.target.closest("[data-i]"); if (node) pin(Number(node.dataset.i)); });
  for (const name of TABS) byId("tab-" + name).addEventListener("click", () => setTab(name));
  byId("source").addEventListener("change", (event) => { state.source = event.target.value; filter(); });
  byId("reason").addEventListener("change", (event) => {
    state.reason = event.target.value;
    filter();
    if (state.reason) setTab(state.reason.startsWith("aside:") ? "aside" : "sessions");
  });
  let typing = 0;
  byId("search").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => { state.query = event.target.value.trim().toLowerCase(); filter(); }, 120);
  });

  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let theme = "";
  try { theme = localStorage.getItem("tokenmill-theme") || ""; } catch { /* a file opened from disk may not have storage */ }
  const paint = () => { root.dataset.theme = theme || (dark.matches ? "dark" : "light"); };
  dark.addEventListener("change", paint);
  byId("theme").addEventListener("click", () => {
    theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("tokenmill-theme", theme); } catch { /* then it lasts as long as the page */ }
    paint();
  });

  // ---- start: the address may name a view, a sequence and a token ----------------------------------------
  paint();
  fillSelects();
  const [tab, index, view, token] = decodeURIComponent(location.hash.slice(2)).split("/");
  const start = Number(index);
  if (view === "text") state.view = "text";
  const wanted = index && Number.isInteger(start) && data.sequences[start] ? start : -1;
  filter();
  setTab(TABS.includes(tab) ? tab : "sessions");
  if (wanted >= 0) choose(wanted);
  if (token && open && Number(token) < open.size) pin(Number(token));
})();
