// What the page has seen since it is open: the relay keeps no history for it.

/** An hour of samples, one every two seconds. */
const MOST = 1800;

/** Named series over shared times. */
export class History {
  constructor() {
    this.times = [];
    this.series = new Map();
  }

  /** A sample: seconds, and values by name. What is not named has none. */
  add(seconds, values) {
    this.times.push(seconds);
    for (const name of Object.keys(values)) {
      if (!this.series.has(name)) this.series.set(name, new Array(this.times.length - 1).fill(null));
    }
    for (const [name, column] of this.series) column.push(values[name] ?? null);
    if (this.times.length > MOST) {
      this.times.shift();
      for (const column of this.series.values()) column.shift();
    }
  }

  /** The columns of some series, times first. */
  columns(names) {
    return [this.times, ...names.map((name) => this.series.get(name) ?? this.times.map(() => null))];
  }

  /** The value of late, or of a sample. */
  last(name, index = -1) {
    return this.series.get(name)?.at(index) ?? null;
  }

  /** The greatest value. */
  most(name) {
    return (this.series.get(name) ?? []).reduce((most, value) => Math.max(most, value ?? 0), 0);
  }
}

/** Turns counts that only grow into rates; after a restart of the relay they begin anew. */
export class Rates {
  constructor() {
    this.before = new Map();
    this.at = null;
  }

  /** Rates a second by name; null where a name is new. */
  of(seconds, counts) {
    const elapsed = this.at === null ? null : seconds - this.at;
    const rates = {};
    for (const [name, value] of Object.entries(counts)) {
      // A count that appears while the page looks began at 0.
      const before = this.before.get(name) ?? (this.at === null ? value : 0);
      rates[name] = elapsed > 0 ? Math.max(0, value - before) / elapsed : null;
    }
    this.before = new Map(Object.entries(counts));
    this.at = seconds;
    return rates;
  }
}
