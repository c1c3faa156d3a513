// How things are called and counted for people.

const KINDS = {
  "document-import": "Document import",
  "bulk-import": "Bulk import",
  "bulk-export": "Export",
};

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export const kindOf = (kind) => KINDS[kind] ?? kind ?? "Job";
export const number = (value) => whole.format(value);
export const things = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
// An id begins with its time, so that its beginning tells jobs of one day apart and is what is searched by.
export const short = (id) => id.slice(0, 13);

export function moment(text) {
  return text ? clock.format(new Date(text)) : "";
}

export function since(text, now = Date.now()) {
  const seconds = Math.round((new Date(text).getTime() - now) / 1000);
  if (Math.abs(seconds) < 5) return "just now";
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return relative.format(seconds, "second");
}

export function lasting(from, to) {
  const seconds = Math.max(0, (new Date(to) - new Date(from)) / 1000);
  if (seconds < 1) return "under a second";
  if (seconds < 90) return things(Math.round(seconds), "second");
  if (seconds < 5400) return things(Math.round(seconds / 60), "minute");
  return things(Math.round(seconds / 3600), "hour");
}

export function bytes(size) {
  if (size === null || size === undefined) return "";
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let step = 0;
  while (size >= 1000 && step < units.length - 1) {
    size /= 1000;
    step += 1;
  }
  return `${step ? size.toFixed(size < 10 ? 1 : 0) : whole.format(size)} ${units[step]}`;
}

// A job's state in one word for its look, and in words for people.
export function standing(job) {
  if (job.state === "SUBMITTED") return ["waiting", "Accepted"];
  if (job.state === "RUNNING") return ["running", "Running"];
  if (job.outcome === "cancelled") return ["cancelled", "Cancelled"];
  if (job.outcome === "failed") return ["failed", "Failed"];
  const failed = job.counts.failed;
  return failed ? ["failed", `${number(failed)} failed`] : ["done", "Done"];
}

export function summary(job) {
  const { items, attached, failed, skipped, cancelled } = job.counts;
  if (!items) return job.state === "FINISHED" ? "Nothing to do" : "Not planned yet";
  const more = [failed && `${number(failed)} failed`, skipped && `${number(skipped)} skipped`,
    cancelled && `${number(cancelled)} cancelled`].filter(Boolean);
  return [`${number(attached)} of ${number(items)}`, ...more].join(" · ");
}
