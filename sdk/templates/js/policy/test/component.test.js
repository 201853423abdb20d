import assert from "node:assert/strict";
import { test } from "node:test";
import { policy } from "../src/component.js";

const peer = (name) => ({
  cwd: "/home/ann/project",
  name,
  address: `/home/ann/project@${name}`,
  person: false,
});
const facts = (sentLastMinute) => ({
  direction: "local",
  sender: peer("scout"),
  recipients: [peer("reviewer")],
  to: "reviewer",
  id: "0199a2b4-0000-7000-8000-000000000000",
  bodyBytes: 7,
  sentLastMinute,
  nowMs: 1763700000000,
});
const refusal = (settings) => {
  try {
    policy.configure(settings);
  } catch (reason) {
    return reason;
  }
  return undefined;
};

test("a sender who stays below the limit reaches everybody", () => {
  policy.configure("{}");
  assert.deepEqual(policy.decide(facts(29)), { tag: "deliver" });
});

test("one message more than the limit is denied with the reason", () => {
  policy.configure('{"per_minute":2}');
  assert.equal(policy.decide(facts(1)).tag, "deliver");
  const reason = "scout may send 2 messages a minute";
  assert.deepEqual(policy.decide(facts(2)), { tag: "deny", val: reason });
});

test("settings that make no sense are refused", () => {
  assert.equal(refusal('{"per_hour":2}'), "unknown settings: `per_hour`");
  assert.equal(refusal("[]"), "the settings are not a JSON object");
  assert.match(refusal("{"), /^the settings are not JSON: /);
  for (const number of ["0", "-1", "1.5", '"2"', "null"]) {
    assert.match(refusal(`{"per_minute":${number}}`), /must be a whole number/);
  }
});
