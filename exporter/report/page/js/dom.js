/* Elements. Recorded texts become text nodes and attribute values: none is ever parsed. */

const OPTION_MAX = 60;
const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: attributes `on…` are listeners, null and false are left out, true is an attribute without a value. */
function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Makes an element of SVG, as `h` makes one of HTML. */
function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A box in which a table that is too wide scrolls. */
function tableBox(table) {
  return h("div", { class: "table-box" }, table);
}

/** Has screen readers say `text`, for readers who don't see a change. */
function announce(text) {
  document.getElementById("announced").textContent = text;
}

/** A button that copies the result of `text()`. */
function copyButton(text, label, what) {
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy ${what}` }, label);
  const asItWas = settled(() => (button.textContent = label), 2000);
  button.addEventListener("click", async () => {
    const isCopied = await copied(text());
    button.textContent = isCopied ? "Copied ✓" : "Press Ctrl+C";
    announce(isCopied ? `Copied ${what}` : "It could not be copied");
    asItWas();
  });
  return button;
}

/** Copies `text`; returns whether it worked. Pages from disk may lack the newer API, so the older one is tried, too. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "hidden", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return isCopied;
  }
}

/** A function that calls `act` once it hasn't been called itself for `wait` milliseconds. */
function settled(act, wait = 120) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  };
}

/** A labelled select; `options` are [value, text]. */
function select(label, options, value, onchange) {
  const box = h("select", { onchange: () => onchange(box.value) });
  box.append(...options.map(([each, text]) => h("option", { value: each, selected: each === value }, text.length > OPTION_MAX ? `${text.slice(0, OPTION_MAX)}…` : text)));
  return field(label, box, "field");
}

let fields = 0;

function field(label, box, look) {
  fields += 1;
  box.id = `field-${fields}`;
  return h("div", { class: look }, h("label", { for: box.id }, label), box);
}

/** A labelled search box. A box that has been replaced meanwhile searches no more. */
function searchBox(label, onchange) {
  const box = h("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  box.addEventListener("input", settled(() => box.isConnected && onchange(box.value)));
  return field(label, box, "field grow");
}

/** A labelled checkbox. */
function checkBox(label, isChecked, onchange) {
  const box = h("input", { type: "checkbox", checked: isChecked, onchange: () => onchange(box.checked) });
  return h("label", { class: "check" }, box, h("span", {}, label));
}
