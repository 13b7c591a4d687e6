// Polls from a page without leaving it, and shows what happens as it happens.
for (const form of document.querySelectorAll("form[data-poll]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    const status = document.querySelector("[data-poll-status]");
    button.disabled = true;
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/x-ndjson" } });
      await lines(answer, (e) => {
        const name = e.report?.mailbox ?? e.progress?.mailbox;
        if (name) busy(name, Boolean(e.progress), e);
        if (status && e.error) status.textContent = e.error;
      });
    } finally {
      button.disabled = false;
    }
    if (!document.querySelector("[data-events]")) location.reload();
  });
}

// lines calls fn with every JSON line of an answer.
async function lines(answer, fn) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) if (line) fn(JSON.parse(line));
  }
}

function busy(name, is, event) {
  const row = document.querySelector(`[data-mailbox="${CSS.escape(name)}"]`);
  const state = row?.querySelector("[data-cell=state]");
  if (!state) return;
  state.classList.toggle("busy", is);
  if (is) state.textContent = event.progress.listed ? `${event.progress.done ?? event.progress.archived ?? 0} / ${event.progress.listed}` : "…";
}

const table = document.querySelector("[data-events]");
if (table) {
  const source = new EventSource(table.dataset.events);
  source.onmessage = (event) => {
    const now = JSON.parse(event.data);
    const row = table.querySelector(`[data-mailbox="${CSS.escape(now.name)}"]`);
    if (!row) return;
    for (const cell of row.querySelectorAll("[data-cell]")) cell.textContent = now[cell.dataset.cell];
    row.querySelector("[data-cell=state]").className = "state " + now.kind;
  };
  addEventListener("pagehide", () => source.close());
}
