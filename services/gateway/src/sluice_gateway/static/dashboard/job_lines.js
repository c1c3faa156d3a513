// The lines for a terminal that are about one job: by its kind, by whose it is, and by how it stands.

import { curl, sluice } from "./commands.js";
import { place } from "./jobs_api.js";

// `found` is what an ended job of one's own came to, once that is known.
export function jobLines(job, mine, found) {
  const { id } = job;
  const own = !mine ? [] : job.state === "FINISHED" ? ended(job, found) : [
    ["Cancel it", curl(place(job), { method: "DELETE" }), sluice("job", id, "--cancel")]];
  return [
    ["Show the job", curl(`/v2/jobs/${id}`), sluice("job", id)],
    ["Follow it", curl(`/v2/jobs/${id}/events`, { stream: true }), sluice("job", id, "--watch")],
    ["List what failed", curl(`/v2/jobs/${id}/items?state=FAILED`), sluice("job", id, "--failed")],
    ...own,
  ];
}

function ended(job, found) {
  const { id } = job;
  if (job.kind === "document-import") {
    return job.counts.failed + job.counts.cancelled
      ? [["Run the failed ones again", curl(`/v2/jobs/${id}/rerun`, { method: "POST" }), sluice("job", id, "--rerun")]] : [];
  }
  const remove = [job.kind === "bulk-export" ? "Delete it" : "Forget it, and keep what it loaded",
    curl(place(job), { method: "DELETE" }), sluice("job", id, "--delete")];
  if (!found) return [remove];
  if (job.kind === "bulk-export") {
    return [
      ["List its files", curl(place(job)), null],
      ...found.files.map((file) => [`Download ${file.name}`, curl(file.path, { to: file.name }), null]),
      ["Download all of it", null, sluice("export", "--job", id, "--to", "exported", "--keep")],
      remove,
    ];
  }
  return [
    ["See what became of its files", curl(found.information), sluice("pull", "--job", id)],
    ...(found.errors ? [["See what went wrong", curl(found.errors), sluice("pull", "--job", id, "--problems", String(found.wrong))]] : []),
    ["Get what it brought, patient by patient", curl(found.bundles, { to: "bundles.ndjson" }),
      sluice("pull", "--job", id, "--bundles", "bundles.ndjson")],
    remove,
  ];
}
