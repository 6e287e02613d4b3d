// Measures the report of a canary in a real browser, light, dark and on a phone, and takes a picture of each.
//
//     node tests/browser/report.mjs "$(.ci/browser)" PAGE.html PICTURES
//
// It fails, with every finding, when text runs out of its place, a drawing has no axes or labels, labels cover each
// other, or a colour is hard to read.
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { launch } from "./launch.mjs";

const [directory, page, pictures] = process.argv.slice(2).map((path) => resolve(path));
const LOOKS = [
  { name: "light", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { name: "phone", colorScheme: "light", viewport: { width: 375, height: 740 }, isMobile: true, deviceScaleFactor: 2 },
  { name: "phone-dark", colorScheme: "dark", viewport: { width: 375, height: 740 }, isMobile: true, deviceScaleFactor: 2 },
];

// Runs in the page.
function measure(dark) {
  const found = [];
  const tell = (what, element) => found.push(`${what}: ${element.outerHTML?.slice(0, 120) ?? element}`);
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) tell(`the page is ${document.documentElement.scrollWidth} wide, the screen ${width}`, "body");

  const parse = (color) => color.match(/[\d.]+/g).slice(0, 3).map(Number);
  const luminance = (color) => {
    const [r, g, b] = parse(color).map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!color.startsWith("rgba(0, 0, 0, 0")) return color;
    }
    return "rgb(255, 255, 255)";
  };
  if (luminance(ground(document.body)) > 0.5 === dark) tell("the ground does not follow the colour scheme", document.body);

  const texts = [...document.querySelectorAll("h1, h2, h3, h4, p, span, strong, td, th, svg text")].filter((element) => element.textContent.trim());
  for (const element of texts) {
    const style = getComputedStyle(element);
    const color = element.ownerSVGElement ? style.fill : style.color;
    const [one, other] = [luminance(color), luminance(ground(element))].sort((a, b) => b - a);
    if ((one + 0.05) / (other + 0.05) < 4.5) tell(`contrast ${((one + 0.05) / (other + 0.05)).toFixed(2)}`, element);
    const box = element.getBoundingClientRect();
    const scrolls = element.closest(".scroll");
    if (!scrolls && (box.left < -0.5 || box.right > width + 0.5)) tell("runs out of the screen", element);
    if (!element.ownerSVGElement && style.overflowX !== "visible" && element.scrollWidth > element.clientWidth) tell("is cut", element);
    const size = element.ownerSVGElement ? parseFloat(style.fontSize) * (element.ownerSVGElement.getBoundingClientRect().width / element.ownerSVGElement.viewBox.baseVal.width) : parseFloat(style.fontSize);
    if (size < 8) tell(`letters of ${size.toFixed(1)} px`, element);
  }

  for (const table of document.querySelectorAll(".scroll")) {
    if (table.scrollWidth > table.clientWidth) tell(`hides ${table.scrollWidth - table.clientWidth} px of a table`, table);
  }

  const drawings = [...document.querySelectorAll("svg")];
  if (drawings.length < 4) tell(`${drawings.length} drawings`, "body");
  for (const svg of drawings) {
    if (!svg.getAttribute("aria-label")) tell("has no name", svg);
    const view = svg.viewBox.baseVal;
    const labels = [...svg.querySelectorAll("text")];
    const boxes = labels.map((label) => label.getBBox());
    for (const [at, box] of boxes.entries()) {
      if (box.x < 0 || box.y < 0 || box.x + box.width > view.width || box.y + box.height > view.height + 1) tell("label outside of its drawing", labels[at]);
      for (const [other, second] of boxes.entries()) {
        const apart = box.x + box.width <= second.x || second.x + second.width <= box.x || box.y + box.height <= second.y + 2 || second.y + second.height <= box.y + 2;
        if (other > at && !apart) tell(`labels cover each other: ${labels[at].textContent} and ${labels[other].textContent}`, svg);
      }
    }
    const interval = svg.getAttribute("aria-label").startsWith("Shift");
    if (interval ? !svg.querySelector(".ci") || !svg.querySelector(".zero") : !svg.querySelector(".axis")) tell("has no axes", svg);
    if (!interval && labels.length < 4) tell(`${labels.length} labels at its axes`, svg);
    for (const shape of svg.querySelectorAll("path, rect, circle")) {
      const box = shape.getBBox();
      if (box.x < -1 || box.y < -1 || box.x + box.width > view.width + 1 || box.y + box.height > view.height + 1) tell("drawn outside", shape);
    }
  }
  const metrics = document.querySelectorAll(".metric").length;
  return { found, texts: texts.length, drawings: drawings.length, metrics };
}

mkdirSync(pictures, { recursive: true });
const browser = await launch(directory);
let passed = 0;
const failures = [];
for (const { name, ...look } of LOOKS) {
  const context = await browser.newContext(look);
  const view = await context.newPage();
  view.on("request", (request) => request.url().startsWith("file:") || failures.push(`${name}: asks for ${request.url()}`));
  await view.goto(pathToFileURL(page).href);
  const { found, ...seen } = await view.evaluate(measure, look.colorScheme === "dark");
  await view.screenshot({ path: `${pictures}/report-${name}.png`, fullPage: true });
  await context.close();
  failures.push(...found.map((finding) => `${name}: ${finding}`));
  passed += found.length === 0;
  console.log(`${name}: ${seen.metrics} metrics, ${seen.drawings} drawings, ${seen.texts} texts, ${found.length} findings`);
}
await browser.close();
failures.forEach((failure) => console.log(failure));
console.log(`${passed} passed, ${LOOKS.length - passed} failed`);
process.exit(failures.length === 0 ? 0 : 1);
