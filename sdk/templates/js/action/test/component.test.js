import assert from "node:assert/strict";
import { test } from "node:test";
import { handler } from "../src/component.js";

const peer = (name) => ({ address: `/home/ann/project@${name}`, name, cwd: "/home/ann/project" });
const context = (to) => ({
  agent: peer("scout"),
  state: { working: false },
  parameters: JSON.stringify({ to }),
  peers: [peer("reviewer")],
});
const summary = { tag: "ok", val: { tag: "data", val: '"all done"' } };
const done = { tag: "ok", val: { tag: "done" } };
const run = (to, replies) => handler.run("summary-to", context(to), replies);

test("every action has a schema that is an object", () => {
  for (const action of handler.actions()) {
    assert.equal(JSON.parse(action.parameters).type, "object");
  }
});

test("the summary is asked for, sent and reported", () => {
  assert.equal(run("reviewer", []).val[0].tag, "ask");
  assert.deepEqual(run("reviewer", [summary]).val, [
    { tag: "send", val: ["/home/ann/project@reviewer", '"all done"'] },
  ]);
  assert.deepEqual(run("reviewer", [summary, done]), {
    tag: "finished",
    val: "reviewer has the summary",
  });
});

test("a step that failed ends the action with its failure", () => {
  const refused = { kind: "refused", message: "the mailbox is full" };
  assert.throws(() => run("reviewer", [summary, { tag: "err", val: refused }]), refused);
});

test("somebody who is not there is named", () => {
  assert.throws(() => run("nobody", []), { message: "no agent is called nobody" });
});
