// A harness adapter: turns lines of the harness into events, and commands into lines.
// PROTOCOL.md describes the harness; wit/harness.wit and wit/deps/session say what the host wants.
import { fromLine, toLine } from "./lines.js";

function describe() {
  const description = {
    name: "{{id}}",
    title: "{{name}}",
    program: "{{id}}",
    versionArgs: ["--version"],
    tested: [],
    install: "say here how {{id}} is installed",
    // What is not named here is answered with `unsupported`.
    abilities: { abort: true },
  };
  return [description];
}

// A failure that is thrown is shown to the person who starts the agent.
function launch(request) {
  if (request.settings.replace(/\s/g, "") !== "{}") {
    throw failure("invalid", "{{name}} has no settings");
  }
  const files = meshFiles(request);
  const args = files.length > 0 ? ["--mesh", "{dir}/mesh.json"] : [];
  return { program: "{{id}}", args, env: [], files, framing: "lines" };
}

// The MCP server through which the model reaches others. What it is started with is a secret, so
// it stands in a private file and not among the arguments, which everybody on the machine can see.
function meshFiles({ mesh }) {
  if (!mesh) return [];
  const { command, args, env } = mesh.server;
  return [["mesh.json", toLine({ command, args, env: Object.fromEntries(env) })]];
}

// One process of the harness, from start to exit. Every method returns effects, and every command
// is settled exactly once: when the harness confirms it, or when its process is gone.
class Session {
  #asked; // The number of the prompt that the harness has not confirmed yet.
  #turn; // The running turn: its unfinished message and tool.
  #aborts = []; // The numbers of the aborts that wait for the end of the turn.
  #ids = 0;
  #lastWords = ""; // The last line the harness wrote to standard error.

  started() {
    return [this.#state()];
  }

  command(number, { tag, val }) {
    if (tag === "prompt") return this.#prompt(number, val);
    if (tag === "refresh") return [this.#state(), done(number)];
    if (tag !== "abort") return [failed(number, "unsupported", "{{name}} cannot do that")];
    if (!this.#isBusy()) return [done(number)];
    this.#aborts.push(number);
    return [write({ abort: true })];
  }

  output(data) {
    const line = fromLine(data);
    if (line?.started && this.#asked !== undefined) return this.#startTurn();
    // What makes no sense is skipped.
    if (!line || !this.#turn) return [];
    if (typeof line.say === "string") return this.#say(line.say);
    if (typeof line.tool === "string") return this.#tool(line);
    if (!line.done) return [];
    const how = line.aborted ? "aborted" : line.error ? "failed" : "completed";
    return [...this.#endTurn(how, line.error), ...this.#aborts.splice(0).map(done)];
  }

  diagnostics(line) {
    this.#lastWords = line;
    return [];
  }

  wake() {
    return [];
  }

  exited({ tag, val }) {
    const how = { code: "ended with code", signal: "was ended by signal" }[tag];
    const what = `{{name}} ${how ?? "did not start:"} ${val}`;
    const reason = this.#lastWords ? `${what} (${this.#lastWords})` : what;
    const effects = this.#turn ? this.#endTurn("failed", reason) : [];
    const open = this.#asked === undefined ? this.#aborts : [this.#asked, ...this.#aborts];
    return [...effects, ...open.map((number) => failed(number, "harness", what))];
  }

  #isBusy = () => this.#asked !== undefined || this.#turn !== undefined;
  #state = () => event("state", { working: this.#turn !== undefined });

  #prompt(number, { text, images, urgency }) {
    if (images.length > 0) return [failed(number, "unsupported", "{{name}} takes no images")];
    if (this.#isBusy()) {
      const kind = urgency === "when-idle" ? "busy" : "unsupported";
      return [failed(number, kind, "{{name}} takes one prompt at a time")];
    }
    this.#asked = number;
    return [write({ prompt: text })];
  }

  #startTurn() {
    const number = this.#asked;
    this.#asked = undefined;
    this.#turn = {};
    return [event("turn-started"), event("prompt-seen", number), done(number)];
  }

  #say(text) {
    this.#turn.message ??= { id: `m${++this.#ids}`, text: "" };
    this.#turn.message.text += text;
    return [event("text", [this.#turn.message.id, text])];
  }

  #tool({ tool: name, input, output, failed }) {
    if (input === undefined) return this.#endTool(String(output ?? ""), Boolean(failed));
    const before = [...this.#endMessage(), ...this.#endTool(undefined, true)];
    const tool = { id: `t${++this.#ids}`, name, input: JSON.stringify(input), failed: false };
    this.#turn.tool = tool;
    return [...before, event("tool-started", tool)];
  }

  #endTool(output, failed) {
    const { tool } = this.#turn;
    this.#turn.tool = undefined;
    return tool ? [event("tool-ended", { ...tool, output, failed })] : [];
  }

  #endMessage() {
    const { message } = this.#turn;
    this.#turn.message = undefined;
    const rest = { role: "assistant", images: [], atMs: 0 };
    return message ? [event("message-ended", { ...message, ...rest })] : [];
  }

  #endTurn(how, error) {
    const unfinished = [...this.#endMessage(), ...this.#endTool(undefined, true)];
    this.#turn = undefined;
    const notice = error ? [event("notice", ["error", String(error)])] : [];
    return [...unfinished, ...notice, event("turn-ended", how)];
  }
}

const write = (line) => ({ tag: "write", val: toLine(line) });
const event = (tag, val) => ({ tag: "event", val: { tag, val } });
const settle = (number, outcome) => ({ tag: "settle", val: [number, outcome] });
const done = (number) => settle(number, { tag: "ok", val: { tag: "done" } });
const failure = (kind, message) => ({ kind, message });
const failed = (number, ...why) => settle(number, { tag: "err", val: failure(...why) });

export const adapter = { describe, launch, Session };
