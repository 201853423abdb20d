// Makes a Pi that a person runs in their own terminal an agent of the mesh: the tools of
// mesh.ts, the messages for it as prompts whenever it is idle, and the command /remote-pi.
//
// rp-host holds the agent on the mesh from outside. This extension asks it for messages with
// a request that is answered when there are some, and says when the conversation has them;
// until then they are not given away for good.

import { watch, type FSWatcher } from "node:fs";
import { request, type ClientRequest } from "node:http";

import mesh, { type Host, type Peer, describePeer, hostFromEnvironment } from "./mesh.ts";

interface Mail { doubt?: string[]; batch?: { number: number; text: string } }
interface TakeMail { at?: "conversation" | "prompt" | "end"; holds?: string[]; take: "nothing" | "wait" }
interface Status { address?: string; name: string; waiting: number }

interface Entry { type: string; message?: { role: string; content: unknown } }
interface Context {
  hasUI: boolean;
  ui: { notify(text: string, kind?: "info" | "warning" | "error"): void };
  sessionManager: { getEntries(): Entry[] };
  isIdle(): boolean;
}
interface Command {
  description: string;
  getArgumentCompletions?(prefix: string): { value: string; label: string }[] | null;
  handler(words: string, context: Context): Promise<void>;
}
interface Pi {
  on(event: string, handler: (event: any, context: Context) => void | Promise<void>): void;
  registerTool(tool: any): void;
  registerCommand(name: string, command: Command): void;
  sendUserMessage(text: string, options?: { deliverAs: "followUp" }): void;
}

const INTRODUCTION = "Messages for you from the mesh:\n\n";

const COMMANDS: Record<string, string> = {
  status: "who this session is on the mesh",
  peers: "who else is on it",
  stop: "leave the mesh; the session goes on",
};

export default function live(pi: Pi): void {
  const host = hostFromEnvironment();
  if (!host) return;
  mesh(pi);
  const mail = new Mailman(pi, host);
  pi.on("session_start", (_event, context) => mail.begin(context));
  pi.on("session_shutdown", () => mail.end());
  pi.on("message_end", (event) => mail.heard(event.message));
  pi.on("agent_end", (_event, context) => mail.turnEnded(context));
  pi.on("agent_settled", (_event, context) => mail.giveWhenIdle(context));
  pi.registerCommand("remote-pi", {
    description: "The mesh: status, peers, stop",
    getArgumentCompletions: (prefix) =>
      Object.entries(COMMANDS)
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, about]) => ({ value: name, label: `${name}: ${about}` })),
    async handler(words, context) {
      try {
        context.ui.notify(await run(words.trim(), host, mail), "info");
      } catch (error) {
        context.ui.notify(error instanceof Error ? error.message : String(error), "error");
      }
    },
  });
}

async function run(word: string, host: Host, mail: Mailman): Promise<string> {
  if (mail.hasLeft && word in COMMANDS) {
    return "This session has left the mesh. `rp-host pi` starts one that is on it.";
  }
  switch (word) {
    case "status": {
      const { address, name, waiting } = await host.call<Status>("GET", "/mail", {});
      const messages = waiting === 1 ? "1 message waits" : `${waiting} messages wait`;
      return `On the mesh as ${address ?? `${name}, which is not reached yet`}; ${messages}.`;
    }
    case "peers": {
      const { peers } = await host.call<{ peers: Peer[] }>("GET", "/peers", {});
      return peers.length > 0 ? peers.map(describePeer).join("\n") : "There is nobody else on the mesh.";
    }
    case "stop":
      mail.end();
      mail.hasLeft = true;
      await host.call("DELETE", "/mail", {});
      return "This session has left the mesh and goes on without it.";
    default: {
      const lines = Object.entries(COMMANDS).map(([name, about]) => `/remote-pi ${name}: ${about}`);
      return lines.join("\n");
    }
  }
}

// Brings messages into the conversation, one batch at a time.
class Mailman {
  hasLeft = false;
  private readonly pi: Pi;
  private readonly host: Host;
  private open: ClientRequest | undefined;
  private back: FSWatcher | undefined;
  private batch: { number: number; text: string; isSent: boolean } | undefined;

  constructor(pi: Pi, host: Host) {
    this.pi = pi;
    this.host = host;
  }

  // A Pi that answers one prompt and ends has nobody who waits for messages.
  begin(context: Context): void {
    if (context.hasUI && !this.hasLeft) this.ask({ at: "conversation", take: "wait" }, context);
  }

  end(): void {
    this.back?.close();
    this.hangUp();
    this.batch = undefined;
  }

  // The end of the request, with or without an answer, is the event that says to ask again.
  private ask(wanted: TakeMail, context: Context): void {
    const asked = takeMail(this.host, wanted, (mail) => {
      if (this.open !== asked) return;
      if (mail?.doubt?.length) {
        this.hangUp();
        this.ask({ holds: held(context.sessionManager.getEntries(), mail.doubt), take: "wait" }, context);
      } else if (mail?.batch) {
        this.batch = { number: mail.batch.number, text: INTRODUCTION + mail.batch.text, isSent: false };
        this.giveWhenIdle(context);
      } else {
        this.hangUp();
        this.batch = undefined;
        this.askOnceBack(context);
      }
    });
    this.open = asked;
  }

  // The daemon is gone. rp-host brings this agent back with the next one, and then writes a file here.
  private askOnceBack(context: Context): void {
    const { RP_AGENT_LIVE: folder } = process.env;
    if (this.hasLeft || this.back || !folder) return;
    try {
      this.back = watch(folder, { persistent: false }, () => this.askAgain(context));
      this.back.on("error", () => {});
    } catch {
      // rp-host has ended, and with it this agent.
    }
  }

  private askAgain(context: Context): void {
    this.back?.close();
    this.back = undefined;
    if (!this.open && !this.hasLeft) this.ask({ at: "conversation", take: "wait" }, context);
  }

  private hangUp(): void {
    this.open?.destroy();
    this.open = undefined;
  }

  giveWhenIdle(context: Context): void {
    if (!this.batch || this.batch.isSent || !context.isIdle()) return;
    this.batch.isSent = true;
    this.pi.sendUserMessage(this.batch.text, { deliverAs: "followUp" });
  }

  // The conversation has it: now it is given away.
  async heard(message: { role: string; content: unknown }): Promise<void> {
    const batch = this.batch;
    if (!batch?.isSent || message.role !== "user" || !textOf(message.content).includes(batch.text)) return;
    this.batch = undefined;
    try {
      await this.host.call("POST", `/mail/${batch.number}`, { body: { seen: true } });
    } catch {
      // It is offered again, and found in the conversation.
    }
  }

  async turnEnded(context: Context): Promise<void> {
    if (!this.open || this.hasLeft) return;
    if (!this.batch) {
      // What was given is part of a turn that is over. Ask for more in the same breath.
      this.hangUp();
      this.ask({ at: "end", take: "wait" }, context);
    }
    // An older Pi says nothing after this, and is idle a moment later.
    setTimeout(() => this.giveWhenIdle(context), 0).unref();
  }
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (part?.type === "text" ? part.text : "")).join("\n");
}

// Those of these messages that the conversation holds.
function held(entries: Entry[], ids: string[]): string[] {
  const told = entries.filter(({ type, message }) => type === "message" && message?.role === "user");
  const lines = told.flatMap(({ message }) => textOf(message?.content).split("\n"));
  const headers = lines.filter((line) => line.startsWith("[mesh] message from "));
  return ids.filter((id) => headers.some((line) => line.includes(`, id=${id}`)));
}

// Asks for messages and tells the answer once; undefined when there was none.
function takeMail(host: Host, wanted: TakeMail, tell: (mail: Mail | undefined) => void): ClientRequest {
  let isTold = false;
  const once = (mail: Mail | undefined) => {
    if (isTold) return;
    isTold = true;
    tell(mail);
  };
  const asking = request(host.target("POST", "/mail", JSON.stringify(wanted)), (response) => {
    let text = "";
    response.setEncoding("utf8");
    response.on("data", (piece: string) => {
      text += piece;
      const line = text.split("\n").find((line) => line.startsWith("data:"));
      if (line && text.includes("\n", text.indexOf(line) + line.length)) once(JSON.parse(line.slice(5)));
    });
    response.on("error", () => once(undefined));
    response.on("end", () => once(undefined));
  });
  asking.on("error", () => once(undefined));
  // A session that is over must not wait for messages.
  asking.on("socket", (socket) => socket.unref());
  asking.end(JSON.stringify(wanted));
  return asking;
}
