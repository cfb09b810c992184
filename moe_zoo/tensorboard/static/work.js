// Work in progress, and waiting for frames.

/** Sets `data-ready` on the body once all work is complete. */
export const work = {
  pending: 0,
  async on(promise) {
    this.pending += 1;
    delete document.body.dataset.ready;
    try {
      return await promise;
    } finally {
      this.pending -= 1;
      if (this.pending === 0) document.body.dataset.ready = "true";
    }
  },
};

export function nextFrame() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

/** Waits until sections that came into view have begun to fill, which takes two frames. */
export async function nextView() {
  await nextFrame();
  await nextFrame();
}
