// Browsers start no worker for a page that was opened from disk. The search's runs in a frame then, so that
// it works there, too. Served by a web server, nothing here is used.
"use strict";

class FrameWorker extends EventTarget {
  #frame = document.createElement("iframe");
  #loaded;

  constructor(url) {
    super();
    this.#frame.hidden = true;
    document.body.append(this.#frame);
    const inside = this.#frame.contentWindow;
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    this.#loaded = new Promise((resolve, reject) => {
      const script = inside.document.createElement("script");
      script.onload = resolve;
      script.onerror = () => reject(new Error(`cannot load ${url}`));
      script.src = url;
      inside.document.body.append(script);
    });
  }

  postMessage(data) {
    const inside = this.#frame.contentWindow;
    this.#loaded.then(() => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
  }

  terminate() {
    this.#frame.remove();
  }
}

if (location.protocol === "file:") {
  window.Worker = FrameWorker;
}
