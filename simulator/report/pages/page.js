"use strict";
(async () => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const hidden = new Set(); // keys of traces that a legend's button has switched off
  const chosen = {}; // selector -> the view it stands at

  // --- theme: the system's choice until the button says otherwise ---
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const stored = (() => { try { return localStorage.getItem("tokenyard-theme"); } catch { return null; } })();
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  if (stored) root.dataset.theme = stored;
  const showTheme = () => button.setAttribute("aria-pressed", String(isDark()));
  showTheme();

  // --- "--blue" or "--blue/0.3" in a chart stands for that CSS variable in the theme of the moment ---
  const resolved = (value) => {
    if (typeof value === "string" && value.startsWith("--")) {
      const [name, alpha] = value.split("/");
      const hex = getComputedStyle(root).getPropertyValue(name).trim();
      if (!alpha) return hex;
      const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
      return `rgba(${r},${g},${b},${alpha})`;
    }
    if (Array.isArray(value)) return value.map(resolved);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, resolved(part)]));
    }
    return value;
  };

  const axisLook = { gridcolor: "--grid", linecolor: "--muted", zeroline: false, automargin: true, tickcolor: "--muted",
    showline: true, title: { standoff: 8 } };

  const layoutOf = (layout) => {
    const whole = {
      font: { family: "system-ui, sans-serif", size: 12, color: "--ink" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
      margin: { l: 48, r: 14, t: 22, b: 40 },
      hoverlabel: { bgcolor: "--paper", bordercolor: "--muted", font: { color: "--ink", size: 12 }, namelength: 30 },
      // A finger that scrolls the page must not zoom a chart.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      ...layout,
    };
    for (const name of ["xaxis", "yaxis", ...Object.keys(whole).filter((key) => /^[xy]axis\d+$/.test(key))]) {
      const own = whole[name] || {};
      whole[name] = { ...axisLook, ...own, title: { ...axisLook.title, ...own.title } };
    }
    return resolved(whole);
  };

  const draw = (chart) => {
    const view = chart.views[chosen[chart.selector] || 0];
    const data = view.data.map((trace) => ({ ...resolved(trace), visible: !hidden.has(trace.meta) }));
    const config = { responsive: true, displaylogo: false, scrollZoom: false, displayModeBar: false };
    return Plotly.react(chart.id, data, layoutOf(view.layout), config);
  };
  const drawAll = (some = charts) => Promise.all(some.map(draw));

  // --- plotly.js ---
  try {
    const packed = atob(document.getElementById("plotly-packed").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    await drawAll();
  } catch (error) {
    const note = document.getElementById("failure");
    note.textContent = `This browser cannot draw the charts (${error}). A results folder has most of them in plots/.`;
    note.hidden = false;
    throw error;
  }

  // --- what the reader can switch ---
  const retheme = () => { showTheme(); drawAll(); };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("tokenyard-theme", root.dataset.theme); } catch { /* private window: not remembered */ }
    retheme();
  });
  system.addEventListener("change", retheme);
  for (const key of document.querySelectorAll("button.key")) {
    key.addEventListener("click", () => {
      const name = key.dataset.key;
      if (!hidden.delete(name)) hidden.add(name);
      key.setAttribute("aria-pressed", String(!hidden.has(name)));
      drawAll(charts.filter((chart) => chart.views.some((view) => view.data.some((trace) => trace.meta === name))));
    });
  }
  for (const select of document.querySelectorAll("select[data-selector]")) {
    const name = select.dataset.selector;
    const change = () => {
      chosen[name] = Number(select.value);
      document.querySelectorAll(`[data-of="${name}"]`).forEach((block, i) => { block.hidden = i !== chosen[name]; });
      drawAll(charts.filter((chart) => chart.selector === name));
    };
    select.addEventListener("change", change);
    if (select.value !== "0") change(); // a reload keeps the reader's choice
  }
  root.dataset.drawn = String(charts.length);
})();
