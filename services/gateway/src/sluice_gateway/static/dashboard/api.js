// Calls to the gateway, as the person who is signed in.

import * as session from "./session.js";

export class Problem extends Error {
  constructor(status, message, advice = "", code = "") {
    super(message);
    this.status = status;
    this.advice = advice;
    this.code = code;
  }
}

let ended = () => {};
export function onEnd(act) {
  ended = act;
}

export async function send(path, { method = "GET", body, signal, headers = {} } = {}) {
  let answer = await once(path, { method, body, signal, headers }, false);
  // A token that was revoked, or a clock that is wrong: once more with a new one.
  if (answer.status === 401) answer = await once(path, { method, body, signal, headers }, true);
  return answer;
}

async function once(path, { method, body, signal, headers }, fresh) {
  let token;
  try {
    token = await session.token({ fresh });
  } catch {
    throw new Problem(0, "The sign-in server cannot be reached.", "Check your connection, then try again.");
  }
  if (!token) {
    ended();
    throw new Problem(401, "You are signed out.", "Sign in again to go on.");
  }
  const fields = { Authorization: `Bearer ${token}`, Accept: "application/json", ...headers };
  if (body !== undefined) fields["Content-Type"] = "application/json";
  try {
    return await fetch(path, { method, signal, headers: fields, cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server cannot be reached.", "Check your connection, then try again.");
  }
}

export async function call(path, options) {
  const answer = await send(path, options);
  if (!answer.ok) throw await refused(answer);
  // What is only taken note of (202) need not say anything.
  const text = answer.status === 204 ? "" : await answer.text();
  return text ? JSON.parse(text) : null;
}

// Keeps an answer as a file on the machine of whoever looks.
export async function save(path, name) {
  const answer = await send(path, { headers: { Accept: "*/*" } });
  if (!answer.ok) throw await refused(answer);
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Gives the first lines of NDJSON, without reading more of it.
export async function firstLines(path, most, signal) {
  const answer = await send(path, { signal, headers: { Accept: "*/*" } });
  if (!answer.ok) throw await refused(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const lines = [];
  let text = "";
  for (let done = false; !done && lines.length < most;) {
    const piece = await reader.read();
    done = piece.done;
    const whole = (text + (piece.value ?? "")).split("\n");
    text = done ? "" : whole.pop();
    lines.push(...whole.filter(Boolean));
  }
  await reader.cancel();
  return lines.slice(0, most).map((line) => JSON.parse(line));
}

export async function page(path, query, options) {
  const chosen = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const answer = await send(`${path}?${new URLSearchParams(chosen)}`, options);
  if (!answer.ok) throw await refused(answer);
  const { items } = await answer.json();
  return { items, total: Number(answer.headers.get("X-Total-Matching-Query") ?? items.length) };
}

async function refused(answer) {
  if (answer.status === 401) {
    session.forget();
    ended();
  }
  let told = {};
  try {
    told = await answer.json();
  } catch {
    // A proxy's page; the status says enough.
  }
  const words = { 403: "You may not do that.", 404: "There is no such thing here, or not for you.",
    429: "That was too often.", 503: "The service is not quite there at the moment." };
  // FHIR's paths tell what is wrong as an OperationOutcome.
  const issue = told.issue?.[0]?.details?.text;
  return new Problem(answer.status, told.message ?? issue ?? words[answer.status] ?? "The server could not do that.",
    told.more_info ?? "", told.code ?? "");
}

// Reads server-sent events with a token, which EventSource cannot send; goes on after the last one it had.
export async function follow(path, onEvent, signal) {
  let last = null;
  let pause = 500;
  while (!signal.aborted) {
    const headers = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) };
    try {
      const answer = await send(path, { signal, headers });
      if (answer.status < 500 && answer.status !== 429 && !answer.ok) throw await refused(answer);
      if (answer.status === 204) return; // nothing is to come any more
      if (answer.ok) {
        for await (const event of events(answer.body)) {
          pause = 500;
          if (event.id) last = event.id;
          onEvent(event);
        }
      }
    } catch (error) {
      if (signal.aborted || error.status >= 400) throw error;
    }
    await new Promise((resume) => setTimeout(resume, pause));
    pause = Math.min(pause * 2, 15_000);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r\n", "\n");
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = { type: "message", id: "", data: [] };
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        const [field, told] = colon < 0 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
        if (field === "event") event.type = told;
        else if (field === "id") event.id = told;
        else if (field === "data") event.data.push(told);
      }
      text = text.slice(end + 2);
      if (event.data.length) yield { ...event, data: JSON.parse(event.data.join("\n")) };
    }
  }
}
