// Film strips of the case that is open: taken from their script element, decoded once, drawn frame by frame.

const PIXELS = 480; // the canvas has at least as many along its longer side

function filmOf(one) {
  const element = document.getElementById(`film-${one.index}`);
  return element && JSON.parse(element.textContent);
}

async function decoded(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

// Pictures stand at the end of the page: one that is opened by its address may have to wait for them.
function whenParsed() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
}

async function loadFilm(one) {
  if (!document.getElementById(`film-${one.index}`)) await whenParsed();
  const film = filmOf(one);
  const overlays = {};
  for (const [name, png] of Object.entries(film.overlays)) overlays[name] = await decoded(png);
  return { ...one.film, slices: await decoded(film.slices), pictures: overlays };
}

function drawFrame(canvas, film, frame, overlay, opacity) {
  const scale = Math.max(1, Math.ceil(PIXELS / Math.max(film.width, film.height)));
  canvas.width = film.width * scale;
  canvas.height = film.height * scale;
  const brush = canvas.getContext("2d");
  const draw = (image) => brush.drawImage(image, frame * film.width, 0, film.width, film.height, 0, 0, canvas.width, canvas.height);
  brush.imageSmoothingQuality = "high";
  draw(film.slices);
  if (!overlay || !film.pictures[overlay]) return;
  brush.globalAlpha = opacity;
  draw(film.pictures[overlay]);
  brush.globalAlpha = 1;
}
