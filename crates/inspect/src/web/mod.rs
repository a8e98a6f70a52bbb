//! The web page: one page without anything from elsewhere, and no framework.
//!
//! | file | what it does |
//! |---|---|
//! | `index.html`, `style.css` | what is on the page and what it looks like |
//! | `live.js` | asks for `/live.json` twice a second and has it shown |
//! | `lanes.js` | who runs, who is next, who waits for what |
//! | `tree.js`, `details.js` | the tasks; all that is known of one |
//! | `charts.js`, `history.js` | the curves, and what they are made from |
//! | `dom.js`, `format.js` | elements that stay; numbers and places in words |

/// What is on the page.
pub(crate) const INDEX: &str = include_str!("index.html");

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// What belongs to the page: path, type and content.
pub(crate) const FILES: [(&str, &str, &str); 9] = [
    ("/style.css", CSS, include_str!("style.css")),
    ("/live.js", JAVASCRIPT, include_str!("live.js")),
    ("/lanes.js", JAVASCRIPT, include_str!("lanes.js")),
    ("/tree.js", JAVASCRIPT, include_str!("tree.js")),
    ("/details.js", JAVASCRIPT, include_str!("details.js")),
    ("/charts.js", JAVASCRIPT, include_str!("charts.js")),
    ("/history.js", JAVASCRIPT, include_str!("history.js")),
    ("/dom.js", JAVASCRIPT, include_str!("dom.js")),
    ("/format.js", JAVASCRIPT, include_str!("format.js")),
];
