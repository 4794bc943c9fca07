// Is this a sound AsyncAPI document? Needs @asyncapi/parser on NODE_PATH.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

const WARNING = 1; // and below: errors. Above are hints, such as that a newer AsyncAPI exists.

(async () => {
  const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
  const wrong = diagnostics.filter(({ severity }) => severity <= WARNING);
  for (const { path, message } of wrong) console.error(`${path.join(".")}: ${message}`);
  if (!document || wrong.length > 0) process.exit(1);
  console.log(`${document.messages().all().length} messages, nothing wrong`);
})();
