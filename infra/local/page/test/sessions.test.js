import assert from "node:assert/strict";
import { test } from "node:test";
import { Sessions } from "../sessions.js";

/** A server whose answers wait until the test gives them, in any order. */
function serverOf(titles) {
  const waiting = [];
  const list = () => ({ entries: [...titles].map(([session_id, title]) => ({ session_id, title, updated_at: 1 })) });
  const ask = (_, { action, session_id, title }) => {
    if (action === "rename") titles.set(session_id, title);
    if (action === "delete") titles.delete(session_id);
    const payload = action === "list" ? list() : {}; // as it was when it was asked
    return new Promise((answer, refuse) => waiting.push({ action, answer: () => answer(payload), refuse }));
  };
  return { ask, next: (action) => waiting.splice(waiting.findIndex((asked) => asked.action === action), 1)[0] };
}

const settled = () => new Promise(setImmediate);
const shown = (sessions) => sessions.entries.map(({ session_id, title }) => `${session_id} ${title}`);

test("a list that was asked for before a new title does not take it back", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const titles = new Map([["s", "old"]]);
  const server = serverOf(titles);
  const sessions = new Sessions(server, () => {});
  const first = sessions.refresh();
  server.next("list").answer();
  await first;
  for (const isLateTheList of [false, true]) {
    titles.set("s", "old");
    const list = sessions.refresh();
    const rename = sessions.rename("s", "new");
    const order = isLateTheList ? ["rename", "list"] : ["list", "rename"];
    for (const action of order) {
      server.next(action).answer();
      await settled();
    }
    await Promise.all([list, rename]);
    assert.deepEqual(shown(sessions), ["s new"]);
    t.mock.timers.tick(1000); // and it is asked again
    server.next("list").answer();
    await settled();
    assert.deepEqual(shown(sessions), ["s new"]);
  }
});

test("a list that was asked for before a deletion does not bring the conversation back", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const server = serverOf(new Map([["s", "one"], ["r", "two"]]));
  const sessions = new Sessions(server, () => {});
  const list = sessions.refresh();
  const removal = sessions.remove("s");
  server.next("delete").answer();
  await removal;
  server.next("list").answer();
  await list;
  assert.deepEqual(shown(sessions), []);
});

test("a refused title is taken back", async () => {
  const server = serverOf(new Map([["s", "old"]]));
  const sessions = new Sessions(server, () => {});
  const list = sessions.refresh();
  server.next("list").answer();
  await list;
  const rename = sessions.rename("s", "new");
  assert.deepEqual(shown(sessions), ["s new"]);
  server.next("rename").refuse(new Error("no"));
  await assert.rejects(rename);
  assert.deepEqual(shown(sessions), ["s old"]);
});
