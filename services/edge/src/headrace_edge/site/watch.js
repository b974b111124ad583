/** The page of one stream: the player, and a button for its sound where everybody sees it. */

import "/player/headrace-player.js";

const player = /** @type {HTMLElement & { muted: boolean }} */ (document.querySelector("headrace-player"));
const sound = /** @type {HTMLButtonElement} */ (document.getElementById("sound"));

function showSound() {
  sound.textContent = player.muted ? "Turn the sound on" : "Turn the sound off";
  sound.setAttribute("aria-pressed", String(!player.muted));
}

sound.addEventListener("click", () => {
  player.muted = !player.muted;
  showSound();
});

player.addEventListener("volumechange", showSound);
