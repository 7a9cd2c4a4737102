// The search runs in a worker, and browsers refuse workers to pages that are opened as files.
// There it runs in a hidden frame. The theme asks for `IFrameWorker`.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      const send = inner.postMessage.bind(inner);
      this.ready = new Promise((resolve) => {
        this.frame.addEventListener("load", () => resolve(send));
      });
      addEventListener("message", (event) => {
        if (event.source === inner) {
          this.dispatchEvent(new MessageEvent("message", { data: event.data }));
        }
      });
      const page = inner.document;
      page.open();
      page.write(
        '<script>self.postMessage = (data) => parent.postMessage(data, "*")</script>' +
          `<script src="${new URL(url, document.baseURI)}"></script>`,
      );
      page.close();
    }

    postMessage(data) {
      this.ready.then((send) => send(data, "*"));
    }

    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
