// Plots over time, drawn by uPlot. Labels and legends are the page's own.

/* global uPlot */

import { clock } from "./format.js";
import { colour } from "./theme.js";

/** How many colours the style sheet has for series. */
export const COLOURS = 8;

/** Steps of an axis of whole numbers: 1, 2, 5, 10, and so on. */
const WHOLE = [...Array(12).keys()].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power));

/**
 * A plot in a box. `write` writes a value for the axis, which has whole numbers alone if `whole`;
 * `pointed` is told which sample is pointed at, or null.
 */
export class Chart {
  constructor(box, { write, height, ticks = true, whole = false, pointed = () => {} }) {
    Object.assign(this, { box, write, height, ticks, whole, pointed, series: [], plot: null, data: null });
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(box);
    this.recolour = () => this.make();
    addEventListener("themechange", this.recolour);
  }

  /** Draws columns: seconds, then one a series: {name, colour, fill}. */
  draw(series, data) {
    this.data = data;
    const same = this.plot && JSON.stringify(series) === JSON.stringify(this.series);
    if (same) {
      this.plot.setData(data);
    } else {
      this.series = series;
      this.make();
    }
  }

  gone() {
    this.resized.disconnect();
    removeEventListener("themechange", this.recolour);
    this.plot?.destroy();
  }

  resize() {
    const width = this.box.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
  }

  make() {
    if (!this.data || this.box.clientWidth === 0) return;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), this.data, this.box);
  }

  options() {
    const [soft, line] = [colour("--soft"), colour("--line")];
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: soft, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
    return {
      width: this.box.clientWidth,
      height: this.height,
      padding: [8, 4, this.ticks ? 0 : 10, 0],
      legend: { show: false },
      hooks: { setCursor: [({ cursor }) => this.pointed(cursor.idx ?? null)] },
      cursor: { points: { size: 6 }, drag: { setScale: false }, y: false },
      scales: {
        x: { range: (_, from, to) => [Math.min(from, to - 60), to] },
        y: { range: (_, least, most) => [0, most > 0 ? most * 1.1 : 1] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 22, space: 90, show: this.ticks, values: (_, times) => times.map((s) => clock(s * 1000)) },
        { ...axis, size: 62, space: this.height > 120 ? 40 : 24, values: (_, values) => values.map(this.write), ...(this.whole && { incrs: WHOLE }) },
      ],
      series: [{}, ...this.series.map((one) => this.style(one))],
    };
  }

  style({ colour: name, fill }) {
    const stroke = colour(name);
    const faint = stroke.replace("rgb(", "rgba(").replace(")", ", 0.14)");
    return { stroke, width: 1.75, fill: fill ? faint : undefined, points: { show: false }, spanGaps: true };
  }
}
