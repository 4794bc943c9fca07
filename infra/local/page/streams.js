// Puts the frames of answers in order. Hides the two names of a request (`stream` and `request_id`),
// frames that come before their `ack`, duplicates and gaps.

/** Frames held for one stream while an earlier one is missing; later ones are left to recovery. */
const HELD_FRAMES_MAX = 2048;
/** Streams remembered, so that a connection open for days stays small. */
const LANES_MAX = 200;

/**
 * Feed it every frame of a chat with `accept`; what comes back is in `seq` order and named by its request.
 * It survives reconnects: `stream` is the same on every connection.
 */
export class Streams {
  #byStream = new Map();
  #byRequest = new Map();

  /** Frames that may be applied now, as `{ requestId, frame }`, oldest first. */
  accept(frame, nowMs = Date.now()) {
    const lane = this.#lane(frame);
    if (!lane) return [];
    if (!frame.seq) {
      const named = lane.requestId ? [{ requestId: lane.requestId, frame }] : [];
      return [...named, ...this.#drain(lane, nowMs)];
    }
    // The next one is taken however much waits for it.
    const isWanted = frame.seq === lane.nextSeq || (frame.seq > lane.nextSeq && lane.held.size < HELD_FRAMES_MAX);
    if (!lane.over && isWanted) lane.held.set(frame.seq, frame);
    return this.#drain(lane, nowMs);
  }

  /** Learns a stream's request from elsewhere than its frames; what may be applied now, as `accept` gives it. */
  name(stream, requestId, nowMs = Date.now()) {
    const lane = this.#lane({ stream, request_id: requestId });
    return lane ? this.#drain(lane, nowMs) : [];
  }

  /** The last `seq` applied of a request, 0 before the first: what `resume` asks after. */
  lastSeq(requestId) {
    return (this.#byRequest.get(requestId)?.nextSeq ?? 1) - 1;
  }

  /** Request ids whose next frame has been missing for `ms` while later ones are held. */
  stalled(ms, nowMs = Date.now()) {
    const lanes = [...this.#byRequest.values()];
    return lanes.filter((lane) => lane.gapSinceMs !== null && nowMs - lane.gapSinceMs >= ms).map((lane) => lane.requestId);
  }

  /** Drops what is held and all that may still come: the answer was taken from elsewhere. */
  close(requestId) {
    const lane = this.#byRequest.get(requestId) ?? this.#create();
    lane.requestId = requestId;
    this.#byRequest.set(requestId, lane);
    lane.over = true;
    lane.held.clear();
    lane.gapSinceMs = null;
  }

  #lane(frame) {
    const { stream, request_id: requestId } = frame;
    if (!stream && !requestId) return null;
    const lane = (stream && this.#byStream.get(stream)) || (requestId && this.#byRequest.get(requestId)) || this.#create();
    if (requestId && lane.requestId && lane.requestId !== requestId) return null; // it has its name
    if (stream) this.#byStream.set(stream, lane);
    if (requestId) {
      const other = this.#byRequest.get(requestId);
      if (other && other !== lane) lane.over ||= other.over;
      lane.requestId = requestId;
      this.#byRequest.set(requestId, lane);
    }
    return lane;
  }

  #create() {
    for (const map of [this.#byStream, this.#byRequest]) {
      if (map.size >= LANES_MAX) map.delete(map.keys().next().value);
    }
    return { requestId: null, nextSeq: 1, held: new Map(), gapSinceMs: null, over: false };
  }

  #drain(lane, nowMs) {
    const ready = [];
    while (lane.requestId && !lane.over && lane.held.has(lane.nextSeq)) {
      const frame = lane.held.get(lane.nextSeq);
      lane.held.delete(lane.nextSeq);
      lane.nextSeq += 1;
      ready.push({ requestId: lane.requestId, frame });
      if (frame.type === "done" || frame.type === "error") lane.over = true;
    }
    if (lane.over) lane.held.clear();
    lane.gapSinceMs = lane.held.size === 0 ? null : (ready.length > 0 ? nowMs : (lane.gapSinceMs ?? nowMs));
    return ready;
  }
}
