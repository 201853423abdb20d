// Puts the mesh into the hands of a model that runs in Pi: four tools, each one request to
// the control API of rp-host on its Unix socket. Messages for the agent do not come this
// way; the host injects them as prompts.
//
// rp-host hands over three environment variables. Without them this extension does nothing,
// so it does no harm in a Pi that nobody's host started.
//
// No imports but Node's own, and plain JSON schemas instead of TypeBox: this file is loaded
// as it is by every supported version of Pi, from a folder without node_modules.

import { request } from "node:http";

const REQUEST_TIMEOUT_MS = 30_000;
const RESPONSE_LIMIT_BYTES = 64 * 1024 * 1024;
const WAIT_DEFAULT_SECONDS = 60;
const WAIT_LIMIT_SECONDS = 600;

export interface Peer { address: string; name: string; cwd: string; pc?: string; harness?: string; state?: string }
interface Outcome { to: string; status: string; reason?: string; closest?: string[] }
interface Message { id: string; from: string; re?: string | null; body: unknown; at_ms?: number }

interface ToolResult { content: { type: "text"; text: string }[]; details: unknown }
interface Tool {
  name: string;
  label: string;
  description: string;
  parameters: object;
  execute(callId: string, parameters: any, signal: AbortSignal | undefined): Promise<ToolResult>;
}
interface Pi { registerTool(tool: Tool): void }

export default function mesh(pi: Pi): void {
  const host = hostFromEnvironment();
  if (!host) return;
  for (const tool of [listPeers(host), agentSend(host), getMessages(host), agentWait(host)]) {
    pi.registerTool(tool);
  }
}

export function hostFromEnvironment(): Host | undefined {
  const { RP_HOST_SOCKET: socket, RP_AGENT_TOKEN: token, RP_AGENT_ID: agent } = process.env;
  if (!socket || !token || !agent) return undefined;
  return new Host(socket, token, `/v1/agents/${encodeURIComponent(agent)}`);
}

export function describePeer(peer: Peer): string {
  const notes = [peer.harness, peer.state, peer.pc && `on ${peer.pc}`].filter(Boolean);
  return notes.length > 0 ? `${peer.address} (${notes.join(", ")})` : peer.address;
}

function listPeers(host: Host): Tool {
  return {
    name: "list_peers",
    label: "List peers",
    description:
      "List the agents you can write to, with their folders and what they are doing. An address is " +
      "opaque: copy it whole into agent_send, never build, shorten or change one.",
    parameters: { type: "object", properties: {} },
    async execute(_callId, _parameters, signal) {
      const { peers } = await host.call<{ peers: Peer[] }>("GET", "/peers", { signal });
      const lines = peers.map(describePeer);
      return result(lines.length > 0 ? lines.join("\n") : "There is nobody else on the mesh.", { peers });
    },
  };
}

function agentSend(host: Host): Tool {
  return {
    name: "agent_send",
    label: "Send to agent",
    description:
      "Write to other agents. Returns the message's id and what became of it for each recipient. An answer " +
      "comes later, by itself, as a new prompt that names that id as `re`; do not poll for it (agent_wait " +
      "waits if you cannot go on without it). To answer a message, send to its sender with its id as `re`. " +
      "Never answer an answer.",
    parameters: {
      type: "object",
      properties: {
        to: {
          anyOf: [{ type: "string" }, { type: "array", items: { type: "string" }, minItems: 1 }],
          description:
            'An address exactly as list_peers or a message gave it, a list of them, or "broadcast" for ' +
            "every agent of your folder.",
        },
        body: { description: "What to say: text, or any JSON value." },
        re: { type: "string", description: "When this is an answer: the id of the message it answers." },
      },
      required: ["to", "body"],
    },
    async execute(_callId, { to, body, re }, signal) {
      // Pi 0.74 turns a null `re` into an empty string.
      const message = re ? { to, body, re } : { to, body };
      const sent = await host.call<{ id: string; outcomes: Outcome[] }>("POST", "/messages", {
        signal,
        body: message,
      });
      const text = [`id ${sent.id}`, ...sent.outcomes.map(describeOutcome)].join("\n");
      const arrived = sent.outcomes.some(({ status }) => ["received", "held", "sent"].includes(status));
      if (sent.outcomes.length > 0 && !arrived) throw new Error(text);
      return result(text, sent);
    },
  };
}

function getMessages(host: Host): Tool {
  return {
    name: "get_messages",
    label: "Get messages",
    description:
      "Take the messages that wait for you. Rarely needed: they reach you by themselves as prompts when your " +
      "turn ends. A message taken here is not delivered again.",
    parameters: {
      type: "object",
      properties: {
        peek: { type: "boolean", description: "Only look; the messages stay where they are." },
      },
    },
    async execute(_callId, { peek }, signal) {
      const path = peek ? "/inbox?waiting=true" : "/inbox?take=true";
      const { messages } = await host.call<{ messages: Message[] }>("GET", path, { signal });
      const text = messages.length > 0 ? messages.map(describeMessage).join("\n\n") : "No messages wait for you.";
      return result(text, { messages });
    },
  };
}

function agentWait(host: Host): Tool {
  return {
    name: "agent_wait",
    label: "Wait for answer",
    description:
      "Wait for the answer to a message you sent. Use it only when you cannot go on without the answer: it " +
      "holds up your turn. If none comes in time, end your turn; the answer will arrive as a prompt.",
    parameters: {
      type: "object",
      properties: {
        id: { type: "string", description: "The id that agent_send returned." },
        seconds: {
          type: "number",
          description: `How long to wait: ${WAIT_DEFAULT_SECONDS} unless given, ${WAIT_LIMIT_SECONDS} at most.`,
        },
      },
      required: ["id"],
    },
    async execute(_callId, { id, seconds = WAIT_DEFAULT_SECONDS }, signal) {
      const waitMs = Math.round(Math.min(Math.max(seconds, 0), WAIT_LIMIT_SECONDS) * 1000);
      const path = `/answers/${encodeURIComponent(id)}?wait_ms=${waitMs}`;
      const timeoutMs = waitMs + REQUEST_TIMEOUT_MS;
      const { answer } = await host.call<{ answer: Message | null }>("GET", path, { signal, timeoutMs });
      const nothing = `No answer to ${id} within ${waitMs / 1000} s. If it comes later, it arrives as a prompt.`;
      return result(answer ? describeMessage(answer) : nothing, { answer });
    },
  };
}

function result(text: string, details: unknown): ToolResult {
  return { content: [{ type: "text", text }], details };
}

const MEANING: Record<string, string> = {
  received: "received; it is read at the recipient's next turn",
  sent: "sent; whether anybody received it is not reported",
  held: "held; it is delivered when it is let through",
  denied: "denied; do not retry, tell your user",
  unknown: "unknown address; call list_peers and copy an address whole",
  timeout: "not confirmed in time; it may or may not have arrived",
};

function describeOutcome({ to, status, reason, closest }: Outcome): string {
  const why = reason ? ` (${reason})` : "";
  const similar = closest && closest.length > 0 ? `; closest: ${closest.join(", ")}` : "";
  return `${to}: ${MEANING[status] ?? status}${why}${similar}`;
}

function describeMessage({ id, from, re, body }: Message): string {
  const header = `from "${from}" (id=${id}${re ? `, re=${re}` : ""}):`;
  return `${header}\n${typeof body === "string" ? body : JSON.stringify(body)}`;
}

interface CallOptions { signal?: AbortSignal; body?: unknown; timeoutMs?: number }

// The control API of one host, as one agent may use it.
export class Host {
  private readonly socket: string;
  private readonly token: string;
  private readonly prefix: string;

  constructor(socket: string, token: string, prefix: string) {
    this.socket = socket;
    this.token = token;
    this.prefix = prefix;
  }

  // What a request is made with.
  target(method: string, path: string, payload?: string) {
    const headers: Record<string, string | number> = { host: "localhost", authorization: `Bearer ${this.token}` };
    if (payload !== undefined) {
      headers["content-type"] = "application/json";
      headers["content-length"] = Buffer.byteLength(payload);
    }
    return { socketPath: this.socket, method, path: this.prefix + path, headers, agent: false } as const;
  }

  // Rejects with an Error whose text is for the model: what went wrong and what to do.
  call<T>(method: string, path: string, options: CallOptions): Promise<T> {
    const { signal, body, timeoutMs = REQUEST_TIMEOUT_MS } = options;
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const target = { ...this.target(method, path, payload), signal };

    return new Promise<T>((resolve, reject) => {
      const fail = (problem: string) => {
        reject(signal?.aborted ? new Error("aborted") : problemFor(problem, UNREACHABLE_HINT));
      };
      const outgoing = request(target, (response) => {
        const pieces: Buffer[] = [];
        let size = 0;
        response.on("data", (piece: Buffer) => {
          size += piece.length;
          if (size > RESPONSE_LIMIT_BYTES) {
            response.destroy(new Error(`its answer is over ${RESPONSE_LIMIT_BYTES} bytes`));
          } else {
            pieces.push(piece);
          }
        });
        response.on("error", (error) => fail(`rp-host's answer was cut short: ${error.message}`));
        response.on("end", () => {
          const text = Buffer.concat(pieces).toString("utf8");
          try {
            resolve(readAnswer<T>(response.statusCode ?? 0, text));
          } catch (error) {
            reject(error);
          }
        });
      });
      outgoing.setTimeout(timeoutMs, () => {
        outgoing.destroy(new Error(`no answer within ${timeoutMs / 1000} s`));
      });
      outgoing.on("error", (error) => fail(`rp-host cannot be reached: ${error.message}`));
      outgoing.end(payload);
    });
  }
}

const UNREACHABLE_HINT = "do not retry in a loop; tell your user to look at `rp-host status`";

function readAnswer<T>(status: number, text: string): T {
  let answer: any;
  try {
    answer = JSON.parse(text);
  } catch {
    throw problemFor(`rp-host answered ${status} with something that is not JSON`, UNREACHABLE_HINT);
  }
  if (status >= 200 && status < 300) return answer;
  throw problemFor(answer?.error?.message ?? `rp-host answered ${status}`, answer?.error?.hint);
}

function problemFor(message: string, hint?: string): Error {
  return new Error(hint ? `${message}\nhint: ${hint}` : message);
}
