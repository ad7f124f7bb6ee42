// Server-sent events by fetch: EventSource cannot send a token, and a token never stands in an address.

// The server shows life every ten seconds; two signs may be lost.
const SILENCE_MS = 30_000;
// One event is one small document; a stream without any line breaks is not ours.
const CHARACTERS_MAX = 1_000_000;

/** Yields {event, data} until the stream ends. Throws where it cannot be opened, breaks, or falls silent. */
export async function* eventsOf(address, { token, signal }) {
  const watchdog = new Watchdog(signal);
  try {
    const answer = await fetch(address, { headers: headersOf(token), signal: watchdog.signal, cache: "no-store" });
    if (!answer.ok) throw new Error(`the stream answers ${answer.status}`);
    yield* parsed(answer.body.pipeThrough(new TextDecoderStream()), watchdog);
  } finally {
    watchdog.stop();
  }
}

const headersOf = (token) => ({ Accept: "text/event-stream", Authorization: `Bearer ${token}` });

async function* parsed(body, watchdog) {
  let buffer = "";
  for await (const text of chunksOf(body)) {
    watchdog.sign();
    const blocks = (buffer + text).split("\n\n");
    buffer = blocks.pop();
    if (buffer.length > CHARACTERS_MAX) throw new Error("an event is too long");
    yield* blocks.map(eventOf).filter((event) => event.data);
  }
}

// Not every browser can iterate a stream yet.
async function* chunksOf(stream) {
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventOf(block) {
  const event = { event: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") event.data += value;
    if (name === "event") event.event = value;
  }
  return event;
}

/** Ends a stream that shows no life: a laptop that slept keeps connections that nobody answers any more. */
class Watchdog {
  constructor(outer) {
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.abort = () => this.controller.abort();
    outer.addEventListener("abort", this.abort);
    this.outer = outer;
    this.sign();
  }

  sign() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.abort, SILENCE_MS);
  }

  stop() {
    clearTimeout(this.timer);
    this.outer.removeEventListener("abort", this.abort);
    this.abort();
  }
}
