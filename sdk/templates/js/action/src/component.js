// An app action: a button that a phone, a browser or the command line can press.
// wit/actions.wit says what each field means and which steps there are.

const SUMMARY = {
  name: "summary-to",
  title: "Send a summary",
  summary: "Has the agent sum up its work and sends that to another agent.",
  icon: "✉",
  parameters: JSON.stringify({
    type: "object",
    properties: { to: { type: "string", description: "Name of the agent that gets it" } },
    required: ["to"],
    additionalProperties: false,
  }),
  destructive: false,
  harnesses: [],
};
const QUESTION = "Sum up in five sentences what you did and what is left to do.";

export const handler = {
  actions: () => [SUMMARY],

  // Called first without replies, then after each round of steps with the replies to all of them.
  // Every call may be on a fresh instance, so what to do follows from the replies alone.
  // A failure object that is thrown is shown to the person who pressed the button.
  run(name, context, replies) {
    if (name !== SUMMARY.name) {
      throw failure("not-found", `there is no action ${name}`);
    }
    const { to } = JSON.parse(context.parameters);
    const recipient = context.peers.find((peer) => peer.name === to);
    if (!recipient) {
      throw failure("not-found", `no agent is called ${to}`);
    }
    const failed = replies.find((reply) => reply.tag === "err");
    if (failed) {
      throw failed.val;
    }
    const [asked, sent] = replies;
    if (!asked) {
      return steps({ tag: "ask", val: QUESTION });
    }
    if (!sent) {
      // The reply to `ask` is already a JSON string, as the body of a message has to be.
      return steps({ tag: "send", val: [recipient.address, asked.val.val] });
    }
    return { tag: "finished", val: `${to} has the summary` };
  },
};

function steps(...list) {
  return { tag: "steps", val: list };
}

function failure(kind, message) {
  return { kind, message, hint: undefined };
}
