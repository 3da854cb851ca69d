// Fills the page's template anew from status.json. The rules are those of status_page.py; whatever
// the document holds becomes text, never markup.
"use strict";

const INTERVAL_MS = 2000;
const TIMEOUT_MS = 5000;
const LONGEST_SECONDS = 86399999913600;

const NUMBER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0, roundingMode: "halfEven" });

const FORMATS = {
  text: (value) => (value === null ? "-" : String(value)),
  count: (value) => (value === null ? "?" : NUMBER.format(value)),
  rate: (value) => (value === null ? "?" : `${NUMBER.format(value)}/s`),
  duration: (value) => (value === null ? "-" : duration(round(Math.max(Math.min(value, LONGEST_SECONDS), -LONGEST_SECONDS)))),
  time: (value) => (value === null ? "-" : `${value.slice(0, 10)} ${value.slice(11, 19)}`),
  clock: (value) => (value === null ? "-" : value.slice(11, 19)),
};

// A half goes to the even number, as Python rounds.
function round(value) {
  const up = Math.floor(value + 0.5);
  return up - value === 0.5 && up % 2 === 1 ? up - 1 : up;
}

function duration(seconds) {
  const days = Math.floor(seconds / 86400);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${Math.floor((seconds % 86400) / 3600)}:${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
  return days === 0 ? time : `${days} day${days === 1 ? "" : "s"}, ${time}`;
}

const lookUp = (scope, path) => path.split(".").reduce((found, name) => found[name], scope);
const holds = (value) => (Array.isArray(value) ? value.length > 0 : Boolean(value));

function take(element, name) {
  const value = element.getAttribute(name);
  element.removeAttribute(name);
  return value;
}

function fill(element, scope) {
  const added = take(element, "data-class");
  if (added !== null) element.classList.add(String(lookUp(scope, added)).replaceAll(" ", "-"));
  const path = take(element, "data-text");
  const format = FORMATS[take(element, "data-as") ?? "text"];
  if (path !== null) element.textContent = format(lookUp(scope, path));
  for (const child of [...element.children]) fillChild(child, scope);
}

function fillChild(child, scope) {
  const each = take(child, "data-each");
  const wanted = take(child, "data-if");
  const unwanted = take(child, "data-unless");
  if ((wanted !== null && !holds(lookUp(scope, wanted))) || (unwanted !== null && holds(lookUp(scope, unwanted)))) {
    child.remove();
  } else if (each === null) {
    fill(child, scope);
  } else {
    for (const item of lookUp(scope, each)) {
      const one = child.cloneNode(true);
      child.before(one);
      fill(one, item);
    }
    child.remove();
  }
}

// Changes what differs and nothing else: selections and focus stay.
function update(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    if (old.className !== fresh.className) old.className = fresh.className;
    const before = [...old.childNodes];
    const after = [...fresh.childNodes];
    before.slice(after.length).forEach((node) => node.remove());
    after.forEach((node, index) => (index < before.length ? update(before[index], node) : old.append(node)));
  }
}

const main = document.querySelector("main");
const unfilled = document.querySelector("#unfilled").content.querySelector("main");

async function fetchStatus() {
  const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

function show(status) {
  const fresh = unfilled.cloneNode(true);
  fill(fresh, status);
  fresh.querySelector("#refresh").textContent = "live";
  const unfolded = main.querySelector("details").open;
  update(main, fresh);
  main.querySelector("details").open = unfolded;
  document.title = status.title;
}

async function keepFresh() {
  for (;;) {
    if (!document.hidden) {
      try {
        show(await fetchStatus());
      } catch {
        // What is shown stays, and is marked as old.
        main.className = "old";
        main.querySelector("#refresh").textContent = "no answer since";
        document.title = `no answer: ${main.querySelector("h1").textContent}`;
      }
    }
    await new Promise((done) => setTimeout(done, INTERVAL_MS));
  }
}

keepFresh();
