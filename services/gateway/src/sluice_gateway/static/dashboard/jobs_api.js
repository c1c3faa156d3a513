// Jobs as the page sees them, of every kind in one shape.

import { call, page, send } from "./api.js";

const ADVANCE = { "X-SBG-Advance-Access": "Advance" };

function shaped(job) {
  return { ...job, kind: "document-import", counts: { ...job.counts, items: job.counts.total, done: job.counts.attached },
    submitted_at: job.submitted_on, started_at: job.started_on, finished_at: job.finished_on };
}

export async function jobs({ limit, offset }, signal) {
  const found = await page("/v2/bulk/fhir", { limit, offset }, { signal });
  return { ...found, items: found.items.map(shaped) };
}

export const job = async (id, signal) => shaped(await call(`/v2/bulk/fhir/${id}?limit=0`, { signal }));

export async function items(id, { state, limit, offset }, signal) {
  const { result, counts } = await call(`/v2/bulk/fhir/${id}?${new URLSearchParams({ limit: state ? 100 : limit, offset })}`, { signal });
  const chosen = result.filter((item) => !state || item.state === state.toUpperCase());
  return { items: chosen, total: state ? chosen.length : counts.total };
}

export const rerun = (id) => call(`/v2/bulk/fhir/${id}/actions/rerun`, { method: "POST", headers: ADVANCE });
export const cancel = (id) => send(`/v2/bulk/fhir/${id}`, { method: "DELETE" });

export function submit(request) {
  return call("/v2/bulk/fhir", { method: "POST", body: request, headers: ADVANCE });
}

// Tells of every change of one job, or of all of them, until `signal` ends it.
export async function watch(id, onEvent, signal) {
  for (;;) {
    await rest(signal);
    const data = await job(id, signal);
    onEvent({ data });
    if (data.state === "FINISHED") return;
  }
}

export async function watchAll(onEvent, signal) {
  for (;;) {
    await rest(signal, 3000);
    onEvent({ data: await jobs({ limit: 25, offset: 0 }, signal) });
  }
}

function rest(signal, milliseconds = 1000) {
  return new Promise((resume, stop) => {
    const timer = setTimeout(resume, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      stop(signal.reason);
    }, { once: true });
  });
}
