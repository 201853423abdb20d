// Builds component.wasm: src/component.js, what it imports, and a JavaScript engine (QuickJS).
import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "componentize-qjs";

const entry = "src/component.js";
const { component } = await componentize({
  witPath: "wit",
  jsPath: entry,
  jsSource: await readFile(entry, "utf8"),
  sync: true,
  // Without WASI the same calls always give the same results, and nobody needs to wonder what
  // the component can reach. With it, an uncaught error is written to the component's log.
  stubWasi: !process.argv.includes("--debug"),
});
await writeFile("component.wasm", component);
console.log(`component.wasm: ${component.length} bytes`);
