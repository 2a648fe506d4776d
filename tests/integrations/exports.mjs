// Renders Nunjucks templates as promptfoo does: each string of a chat prompt by itself, nothing escaped.
// stdin: [[[template, …], {variable: text}], …]; stdout: [[text, …], …]
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const nunjucks = createRequire(process.argv[2] + "/")("nunjucks");
const engine = nunjucks.configure([], { autoescape: false });
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(([templates, vars]) => templates.map((text) => engine.renderString(text, vars)))));
