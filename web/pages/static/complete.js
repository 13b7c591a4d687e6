// Completes fields and their fixed values in the search box.
const fields = {
  "from:": "", "to:": "", "cc:": "", "bcc:": "", "rcpt:": "", "participant:": "", "subject:": "", "body:": "", "attachment:": "", "filename:": "",
  "filetype:": "pdf docx xlsx pptx zip png jpg txt html eml ics", "mailbox:": "", "list:": "", "msgid:": "", "header:": "", "lang:": "de en es fr it nl pt ru",
  "date:": "", "after:": "30d 2024 2024-03", "before:": "30d 2024 2024-03", "received:": "7d 30d 2024", "size:": ">1M >10M <10K",
  "has:": "attachment", "is:": "encrypted signed malformed journal bounce held partial", "id:": "", "thread:": "",
};

for (const box of document.querySelectorAll("[data-complete]")) complete(box);

function complete(box) {
  const list = document.createElement("ul");
  list.className = "suggest";
  list.id = "suggest";
  list.setAttribute("role", "listbox");
  list.hidden = true;
  box.after(list);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-controls": "suggest", "aria-expanded": "false", "aria-autocomplete": "list" })) box.setAttribute(name, value);
  let chosen = -1;

  const word = () => /(?:^|[\s(])(-?)([^\s()"]*)$/.exec(box.value.slice(0, box.selectionStart));
  const offers = () => {
    const [, , typed = ""] = word() ?? [];
    if (!typed) return [];
    const field = Object.keys(fields).find((f) => typed.startsWith(f));
    if (field) return fields[field].split(" ").filter((v) => v && (field + v).startsWith(typed) && field + v !== typed).map((v) => field + v);
    return Object.keys(fields).filter((f) => f.startsWith(typed));
  };
  const close = () => {
    list.hidden = true;
    chosen = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const take = (offer) => {
    const typed = word()[2];
    const at = box.selectionStart;
    const rest = box.value.slice(at);
    const end = offer.endsWith(":") || rest.startsWith(" ") ? "" : " ";
    box.setRangeText(offer + end, at - typed.length, at, "end");
    box.focus();
    draw();
  };
  const choose = (n) => {
    const items = [...list.children];
    chosen = (n + items.length) % items.length;
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === chosen)));
    box.setAttribute("aria-activedescendant", items[chosen].id);
    items[chosen].scrollIntoView({ block: "nearest" });
  };
  function draw() {
    const found = offers();
    list.replaceChildren(...found.map((offer, i) => {
      const item = document.createElement("li");
      item.id = "suggest-" + i;
      item.setAttribute("role", "option");
      item.append(Object.assign(document.createElement("code"), { textContent: offer }));
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); take(offer); });
      return item;
    }));
    if (!found.length) return close();
    chosen = -1;
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
  }
  box.addEventListener("input", draw);
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen < 0 ? -1 : chosen - 1);
    else if (event.key === "Tab" || (event.key === "Enter" && chosen >= 0)) take(list.children[Math.max(chosen, 0)].textContent);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
}
