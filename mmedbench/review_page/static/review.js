// Saves every click and every pause in the note at once; keys judge without the mouse. Without this script the form
// still works: it is sent as a whole by its button.
const form = document.getElementById("judgement");
const status = document.getElementById("status");
const note = document.getElementById("note");
const groups = [...form.querySelectorAll("fieldset")].filter((group) => group.querySelector("input"));

const current = () => new URLSearchParams(new FormData(form)).toString();
let saved = current();
let sending = null;
let waiting = 0;
let refused = false;

function say(text, kind) {
  status.textContent = text;
  status.className = kind;
}

// One request at a time, so that an older answer can never arrive after a newer one.
async function send() {
  while (current() !== saved) {
    const body = current();
    say(form.dataset.saving, "");
    let response = null;
    try {
      response = await fetch(form.action, {
        method: "POST",
        body,
        keepalive: true,
        headers: { "Content-Type": "application/x-www-form-urlencoded", Accept: "application/json" },
      });
    } catch (error) {
      console.warn(String(error));
    }
    if (response === null || response.status >= 500) { // no server, or one in trouble, such as a full disk
      say(form.dataset.notSaved, "bad");
      clearTimeout(waiting);
      waiting = setTimeout(save, 2000);
      return false;
    }
    refused = !response.ok;
    if (refused) {
      say(form.dataset.refused, "bad");
      return false;
    }
    const state = await response.json();
    saved = body;
    document.getElementById("progress").textContent = state.progress;
    document.getElementById("bar").value = state.done;
    form.dataset.after = state.next;
    say(form.dataset.saved, "good");
  }
  return true;
}

function save() {
  clearTimeout(waiting);
  if (sending === null) {
    sending = send().finally(() => { sending = null; });
  }
  return sending;
}

async function go(url) {
  while (current() !== saved && !refused) {
    if (!(await save()) && !refused) return;
  }
  location.assign(url);
}

async function saveAndGoOn() {
  const open = groups.find((group) => !group.querySelector("input:checked"));
  if (open) {
    if (await save()) say(form.dataset.incomplete, "bad");
    open.querySelector("input").focus();
    return;
  }
  if (current() === saved && !form.dataset.after) {
    form.submit(); // nothing new to save: the server says what comes next
    return;
  }
  if (await save()) await go(form.dataset.after);
}

form.noValidate = true;
form.addEventListener("change", save);
note.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(save, 400);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  saveAndGoOn();
});
for (const link of document.querySelectorAll("a[href]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.href);
  });
}
window.addEventListener("beforeunload", (event) => {
  if (current() !== saved && !refused) {
    save();
    event.preventDefault();
  }
});

// Keys are taken by their place on the keyboard (event.code), so they work in every layout and script.
document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229 || event.altKey || event.metaKey) return;
  if (event.target === note) {
    if (event.key === "Escape") note.blur();
    if (event.key === "Enter" && event.ctrlKey) {
      event.preventDefault();
      saveAndGoOn();
    }
    return;
  }
  if (event.ctrlKey || event.shiftKey) return;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  const press = (id) => document.getElementById(id)?.click();
  if (digit) {
    const input = form.querySelector(`input[data-key="${digit[1]}"]`);
    if (input && !input.checked) input.click();
  } else if (event.code === "KeyN") {
    note.focus();
  } else if (event.code === "KeyJ") {
    press("next");
  } else if (event.code === "KeyK") {
    press("previous");
  } else if (event.key === "Enter" && !event.target.closest("a, button, summary")) {
    saveAndGoOn();
  } else {
    return;
  }
  event.preventDefault();
});
