// A routing policy: decides about every envelope before it is stored or delivered.
// wit/routing.wit says what each field means and what else can be decided.

const DEFAULT_PER_MINUTE = 30;
let perMinute = DEFAULT_PER_MINUTE;

export const policy = {
  // Called once, before the first `decide`. A string that is thrown is shown to the person who
  // wrote the settings, and the policy before this one stays in force.
  configure(settings) {
    const { per_minute = DEFAULT_PER_MINUTE, ...unknown } = parseObject(settings);
    const names = Object.keys(unknown).map((name) => `\`${name}\``);
    if (names.length > 0) {
      throw `unknown settings: ${names.join(", ")}`;
    }
    if (!Number.isSafeInteger(per_minute) || per_minute < 1) {
      throw "`per_minute` must be a whole number from 1 on";
    }
    perMinute = per_minute;
    // With `bodies: true` (and the permission) `decide` sees what messages say.
    return { bodies: false };
  },

  // Stands in the path of every envelope: be quick. An error that nobody catches ends this
  // instance, and the envelope is held.
  decide(facts) {
    if (facts.sentLastMinute < perMinute) {
      return { tag: "deliver" };
    }
    const reason = `${facts.sender.name} may send ${perMinute} messages a minute`;
    return { tag: "deny", val: reason };
  },
};

function parseObject(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw `the settings are not JSON: ${error.message}`;
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw "the settings are not a JSON object";
  }
  return value;
}
