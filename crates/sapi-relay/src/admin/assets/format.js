// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** 1,234, and 1.2M where that is enough. */
export function count(value) {
  return Math.abs(value) < 100000 ? whole.format(value) : short.format(value);
}

/** A number and its noun. */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Events a second. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 10) return value.toFixed(1);
  return count(value);
}

/** Bytes in the units of the configuration. */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : whole.format(value)} ${units[unit]}`;
}

/** Seconds as 3 s, 4:05 min, 2 h 5 min, 3 d 4 h. */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const two = (value) => String(value).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** How long ago a time of the relay's is. */
export function ago(text, now) {
  if (!text) return "never";
  const seconds = (now - Date.parse(text)) / 1000;
  return seconds < 1 ? "just now" : `${span(seconds)} ago`;
}

/** Milliseconds, as fine as they are few. */
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1000 ? `${whole.format(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** A time of the day, to the millisecond where asked. */
export function clock(text, fine = false) {
  const time = new Date(text);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return fine ? `${day}.${String(time.getMilliseconds()).padStart(3, "0")}` : day;
}

/** Day and time; the time alone for today. */
export function moment(text) {
  const time = new Date(text);
  const day = new Date().toDateString() === time.toDateString() ? "" : `${time.toLocaleDateString()} `;
  return day + clock(text);
}
