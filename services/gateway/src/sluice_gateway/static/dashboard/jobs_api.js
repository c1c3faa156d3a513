// Jobs of every kind; those that are one's own can be cancelled and run again.

import { call, firstLines, follow, page } from "./api.js";
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

// Where its kind's own API shows a job.
export const place = (job) => new URL(job.result).pathname;

export const rerun = (id) => call(`/v2/jobs/${id}/rerun`, { method: "POST" });
// A bulk import or an export that has ended is forgotten by the same.
export const cancel = (job) => call(place(job), { method: "DELETE" });

const local = (url) => url && new URL(url).pathname;

// What an ended bulk import or export of one's own came to: where files of it are, or is told of them.
export async function results(job, signal) {
  const first = await call(place(job), { signal });
  if (job.kind === "bulk-import") {
    const [wrong] = first.error;
    return { information: local(first.output[0].url), errors: local(wrong?.url), wrong: wrong?.count ?? 0,
      bundles: `${place(job)}/bundles` };
  }
  const manifests = [first];
  for (let next = following(first); next; next = following(manifests.at(-1))) {
    const { pathname, search } = new URL(next);
    manifests.push(await call(pathname + search, { signal }));
  }
  return { files: manifests.flatMap((one) => ["output", "deleted", "error"].flatMap((kind) =>
    one[kind].map(({ url, count, extension }) => (
      { kind, count, size: extension?.size, path: local(url), name: local(url).split("/").at(-1) })))) };
}

const following = (manifest) => manifest.link?.find((one) => one.relation === "next")?.url;

// The first issues of a file of OperationOutcomes.
export async function outcomes(path, most, signal) {
  const found = await firstLines(path, most, signal);
  return found.flatMap(({ issue }) => issue.map(({ severity, details, diagnostics }) => (
    { severity, text: details?.text ?? diagnostics ?? "" })));
}

export function submit(request) {
  return call("/v2/bulk/fhir", { method: "POST", body: request, headers: ADVANCE });
}

// Tells of every change of one job, or of all of them, until `signal` ends it.
export const watch = (id, onEvent, signal) => follow(`/v2/jobs/${id}/events`, onEvent, signal);
export const watchAll = (onEvent, signal) => follow("/v2/jobs/events", onEvent, signal);
