// The webcam: on while its tab is open, and off at once when it is left.

export class Camera {
  constructor(video, note) {
    Object.assign(this, { video, note, stream: null });
  }

  static get isThere() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  async start() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      this.video.srcObject = this.stream;
      this.note.textContent = "";
    } catch {
      this.note.textContent = "There is no camera, or it may not be used.";
    }
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = this.stream = null;
  }

  /** What it sees now, as JPEG; null where it sees nothing. */
  async picture() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width) return null;
    const sheet = new OffscreenCanvas(width, height);
    sheet.getContext("2d").drawImage(this.video, 0, 0);
    return sheet.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  }
}
