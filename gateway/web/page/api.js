// Our REST routes. Three outcomes: an answer, a refusal, or nobody knows.

const TIMEOUT_MS = 15_000;
const BACKOFF_MS_MIN = 400;
const BACKOFF_MS_MAX = 8_000;
// About forty seconds with the back-off; after that a person decides.
const TRIES_MAX = 9;
const FINAL_REASONS = new Set(["INTAKE_STOPPED", "NOT_IMPLEMENTED"]);
const AGAIN_REASONS = new Set(["REQUEST_IN_FLIGHT", "VERSION_CONFLICT"]);

/** The service said no. `problem` is its problem document. */
export class Refused extends Error {
  constructor(status, problem, retryAfterMs) {
    super(problem.reason ?? `status ${status}`);
    Object.assign(this, { status, problem, retryAfterMs, reason: problem.reason ?? "" });
  }

  /** Whether the same request may still have been done, or may yet be. */
  get open() {
    if (FINAL_REASONS.has(this.reason)) return false;
    return this.status >= 500 || this.status === 408 || this.status === 429 || AGAIN_REASONS.has(this.reason);
  }
}

/** No answer came. What was asked for may have happened. */
export class Lost extends Error {}

/** One request. Throws Refused or Lost. */
export async function ask(path, { method = "GET", body, key, token, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await answerOf(path, { method, headers, body: body && JSON.stringify(body), signal: limited(signal) });
  const document = await documentOf(answer);
  if (answer.ok) return document;
  throw new Refused(answer.status, document, 1000 * Number(answer.headers.get("Retry-After") ?? 0));
}

/** The same request until its outcome is known: with its key a repeat changes nothing. `onWait` hears before each wait what was wrong. */
export async function insist(path, options, onWait = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask(path, options);
    } catch (error) {
      if (!isOpen(error) || attempt === TRIES_MAX) throw error;
      onWait(error);
      await pause(backoff(attempt, error.retryAfterMs), options.signal);
    }
  }
}

/** Whether an error leaves the outcome open. */
export const isOpen = (error) => error instanceof Lost || (error instanceof Refused && error.open);

/** Whether an error says that our server could not be reached, or did not answer as itself. */
export const isUnreachable = (error) => error instanceof Lost || [502, 503, 504].includes(error.status);

/** How long to wait before the next try: doubled each time, spread, never shorter than was asked for. */
export function backoff(attempt, atLeastMs = 0) {
  const limit = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** attempt);
  return Math.max(atLeastMs || 0, limit / 2 + (Math.random() * limit) / 2);
}

/** Waits; rejects when it is called off. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) reject(signal.reason);
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

async function answerOf(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    throw new Lost(error.message);
  }
}

async function documentOf(answer) {
  try {
    return await answer.json();
  } catch {
    // Cut in the middle, or not from us: a proxy's page, for one.
    if (answer.ok) throw new Lost("the answer was cut");
    return {};
  }
}

function limited(signal) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return signal ? AbortSignal.any([signal, timeout]) : timeout;
}
