// Asks for the page again and again, and takes over what has changed. The server fills it.
"use strict";

const INTERVAL_MS = 2000;
const TIMEOUT_MS = 5000;

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

// The browser parses the answer as a page of its own: the policy lets no script make markup of text.
function fetchPage() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = TIMEOUT_MS;
    request.onload = () => (request.status === 200 ? resolve(request.response) : reject());
    request.onerror = request.ontimeout = reject;
    request.send();
  });
}

function show(page) {
  page.querySelector("#refresh").textContent = "live";
  const unfolded = main.querySelector("details").open;
  update(main, page.querySelector("main"));
  main.querySelector("details").open = unfolded;
  document.title = page.title;
}

async function keepFresh() {
  for (;;) {
    if (!document.hidden) {
      try {
        show(await fetchPage());
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
