// Jobs of every kind; those that are one's own can be cancelled and run again.

import { call, follow, page } from "./api.js";
import * as session from "./session.js";

const ADVANCE = { "X-SBG-Advance-Access": "Advance" };
let user = null;

export function jobs({ limit, offset, ...filters }, signal) {
  return page("/v2/jobs", { ...filters, limit, offset }, { signal });
}

export const job = (id, signal) => call(`/v2/jobs/${id}`, { signal });

// Operators see everybody's jobs; what a job is about, only its owner does.
export async function own(job) {
  user ??= call("/v2/user").catch(() => {
    user = null;
    return {};
  });
  return job.client === session.settings().client_id && job.subject === (await user).username;
}

// Items with what they are about, as far as that may be seen.
export async function items(job, { state, limit, offset }, signal) {
  if (job.kind !== "document-import" || !(await own(job))) {
    return page(`/v2/jobs/${job.id}/items`, { state, limit, offset }, { signal });
  }
  // A job has no more items than fit on one page.
  const { result } = await call(`/v2/bulk/fhir/${job.id}?limit=100`, { signal });
  const found = result.filter((item) => !state || item.state === state);
  return { items: found.slice(offset, offset + limit), total: found.length };
}

export const rerun = (id) => call(`/v2/bulk/fhir/${id}/actions/rerun`, { method: "POST", headers: ADVANCE });
export const cancel = (id) => call(`/v2/bulk/fhir/${id}`, { method: "DELETE" });

export function submit(request) {
  return call("/v2/bulk/fhir", { method: "POST", body: request, headers: ADVANCE });
}

// Tells of every change of one job, or of all of them, until `signal` ends it.
export const watch = (id, onEvent, signal) => follow(`/v2/jobs/${id}/events`, onEvent, signal);
export const watchAll = (onEvent, signal) => follow("/v2/jobs/events", onEvent, signal);
