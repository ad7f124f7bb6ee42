// Keeps one donation's state fresh: by the live stream where there is one, by asking where there is not.

import { ask, backoff, isOpen, pause } from "./api.js";
import { eventsOf } from "./sse.js";

const POLL_MS = 1_500;
// After this many streams in a row that brought nothing, we ask for a while.
const POLLS_BETWEEN_STREAMS = 10;

/** Tells `hear` each state until `signal` ends it. Throws Refused where the donation cannot be read at all. */
export async function follow({ donationId, token, liveUrl, signal, hear }) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    if (liveUrl && (await streamed({ donationId, token, liveUrl, signal, hear }))) failures = 0;
    else await polled({ donationId, token, signal, hear, times: liveUrl ? POLLS_BETWEEN_STREAMS : Infinity });
    await quiet(pause(backoff(Math.min(failures, 4), POLL_MS), signal));
  }
}

/** Reads one stream to its end; false where it brought nothing. */
async function streamed({ donationId, token, liveUrl, signal, hear }) {
  let heard = false;
  try {
    for await (const { event, data } of eventsOf(`${liveUrl}/v1/donations/${donationId}:watch`, { token, signal })) {
      if (event === "message") hear(JSON.parse(data).donation);
      heard = true;
    }
  } catch {
    // Whatever broke it, the next stream or the next question shows.
  }
  return heard;
}

async function polled({ donationId, token, signal, hear, times }) {
  for (let turn = 0; turn < times && !signal.aborted; turn += 1) {
    try {
      hear((await ask(`/v1/donations/${donationId}`, { token, signal })).donation);
    } catch (error) {
      if (!signal.aborted && !isOpen(error)) throw error;
    }
    await quiet(pause(POLL_MS, signal));
  }
}

const quiet = (promise) => promise.catch(() => {});
