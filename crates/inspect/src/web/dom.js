// Making elements, and keeping those that stay.

/** An element with attributes and children. `text` is its text; `on…` are listeners. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Sets an element's text, without touching a document that shows it already. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * Makes the children of `parent` show `items`: an element that was made for the same key before
 * stays, wherever it was, so that what is chosen, focused or moving is not lost.
 */
export function keep(parent, items, key, make, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = before.get(name);
    before.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const left of before.values()) left.remove();
}

/** A list of terms and values, whose elements stay. */
export function numbers(list, pairs) {
  keep(
    list,
    pairs,
    ([term]) => term,
    ([term]) => element("div", {}, element("dt", { text: term }), element("dd")),
    (child, [, value, title]) => {
      setText(child.lastChild, value);
      child.title = title ?? "";
    },
  );
}
