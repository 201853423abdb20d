import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter } from "../src/component.js";

const bytes = (line) => new TextEncoder().encode(JSON.stringify(line));
const prompt = (text, urgency = "when-idle") => ({ tag: "prompt", val: { text, images: [], urgency } });
const abort = { tag: "abort" };

// Effects in one line each.
const told = (effects) =>
  effects.map(({ tag, val }) => {
    if (tag === "write") return `write ${new TextDecoder().decode(val).trimEnd()}`;
    if (tag === "settle") return `settle ${val[0]} ${val[1].val.kind ?? val[1].val.tag}`;
    return `${val.tag} ${JSON.stringify(val.val) ?? ""}`.trimEnd();
  });
const running = (...commands) => {
  const session = new adapter.Session({});
  session.started();
  commands.forEach((command, place) => session.command(place + 1, command));
  return session;
};
const hear = (session, ...lines) => told(lines.flatMap((line) => session.output(bytes(line))));

test("the harness is told of the server that its model reaches the mesh with", () => {
  const server = { name: "mesh", command: "/bin/rp-host", args: ["mcp"], env: [["TOKEN", "x"]] };
  const { args, files } = adapter.launch({ settings: "{}", mesh: { server } });
  assert.deepEqual(args, ["--mesh", "{dir}/mesh.json"]);
  const [[name, content]] = files;
  assert.equal(name, "mesh.json");
  const told = JSON.parse(new TextDecoder().decode(content));
  assert.deepEqual(told, { command: "/bin/rp-host", args: ["mcp"], env: { TOKEN: "x" } });
});

test("the program is started with lines as framing, and settings are refused", () => {
  assert.equal(adapter.launch({ settings: "{}" }).framing, "lines");
  assert.throws(() => adapter.launch({ settings: '{"fast":true}' }), { kind: "invalid" });
});

test("a prompt becomes a turn with text and a tool", () => {
  const session = running();
  assert.deepEqual(told(session.command(7, prompt("Grüße 🎉"))), ['write {"prompt":"Grüße 🎉"}']);
  assert.deepEqual(hear(session, { started: true }, { say: "Gr" }, { say: "üße 🎉" }), [
    "turn-started",
    "prompt-seen 7",
    "settle 7 done",
    'text ["m1","Gr"]',
    'text ["m1","üße 🎉"]',
  ]);
  assert.deepEqual(hear(session, { tool: "shell", input: {} }, { tool: "shell", output: "a" }), [
    'message-ended {"id":"m1","text":"Grüße 🎉","role":"assistant","images":[],"atMs":0}',
    'tool-started {"id":"t2","name":"shell","input":"{}","failed":false}',
    'tool-ended {"id":"t2","name":"shell","input":"{}","failed":false,"output":"a"}',
  ]);
  assert.deepEqual(hear(session, { done: true }), ['turn-ended "completed"']);
});

test("a second prompt is refused while a turn runs", () => {
  const session = running(prompt("one"));
  assert.deepEqual(told(session.command(2, prompt("two"))), ["settle 2 busy"]);
  assert.deepEqual(told(session.command(3, prompt("two", "interrupt"))), ["settle 3 unsupported"]);
});

test("an abort is settled when the turn is over, and at once when none runs", () => {
  const session = running(prompt("one"));
  assert.deepEqual(told(session.command(2, abort)), ['write {"abort":true}']);
  assert.deepEqual(hear(session, { say: "too early" }), []);
  hear(session, { started: true });
  assert.deepEqual(hear(session, { done: true, aborted: true }), [
    'turn-ended "aborted"',
    "settle 2 done",
  ]);
  assert.deepEqual(told(session.command(3, abort)), ["settle 3 done"]);
});

test("the end of the process ends the turn and settles what is open", () => {
  const asked = running(prompt("one"), abort);
  const end = { tag: "code", val: 3 };
  assert.deepEqual(told(asked.exited(end)), ["settle 1 harness", "settle 2 harness"]);
  const working = running(prompt("one"));
  hear(working, { started: true }, { say: "I" });
  working.diagnostics("out of memory");
  assert.deepEqual(told(working.exited(end)).slice(1), [
    `notice ["error","{{name}} ended with code 3 (out of memory)"]`,
    'turn-ended "failed"',
  ]);
});

test("lines that make no sense are skipped", () => {
  const session = running(prompt("one"));
  hear(session, { started: true });
  assert.deepEqual(hear(session, null, [1], "text", { say: 7 }, { new: 1 }, { tool: 1 }), []);
  assert.deepEqual(told(session.output(Uint8Array.of(0xff, 0x7b))), []);
});
