"use strict";
// The renderer, the point cloud, and the path of the cameras.

const POINT_SIZE = 2.7; // in voxels: round points leave no gaps on a surface
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

function makeStage() {
  THREE.ColorManagement.enabled = false; // colours come as the camera saw them, and go to the screen so
  const canvas = $("cloud-canvas");
  const { context, slow } = contextOf(canvas);
  const renderer = new THREE.WebGLRenderer({ canvas, context });
  renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
  renderer.localClippingEnabled = true;
  renderer.setClearColor(0x000000, 0);
  const ratio = slow ? 1 : Math.min(window.devicePixelRatio || 1, 2);
  renderer.setPixelRatio(ratio);
  const up = new THREE.Vector3(...V.data.up);
  const camera = new THREE.PerspectiveCamera(50, 1, NEAR, FAR);
  camera.up.copy(up);
  const controls = new THREE.OrbitControls(camera, canvas);
  controls.enableDamping = false;
  controls.zoomToCursor = true;
  const scene = new THREE.Scene(), cloudScene = new THREE.Scene();
  const ceiling = new THREE.Plane(up.clone().negate(), 1e6); // keeps what lies below
  return {
    canvas, renderer, ratio, camera, controls, scene, cloudScene, up, ceiling, slow, dome: makeDome(renderer), cloud: null, path: null,
    pace: null, fitted: null,
  };
}

/** Create a WebGL 2 context; without antialiasing where there is no GPU, since it takes four times as long there. */
function contextOf(canvas) {
  const wanted = { alpha: true, powerPreference: "high-performance" };
  const probe = document.createElement("canvas").getContext("webgl2", { ...wanted, failIfMajorPerformanceCaveat: true });
  const slow = !probe || isSoftware(probe);
  probe?.getExtension("WEBGL_lose_context")?.loseContext();
  const context = canvas.getContext("webgl2", { ...wanted, antialias: !slow });
  if (!context) throw new Error("this browser has no WebGL 2");
  return { context, slow };
}

/** Return whether a program draws, not a GPU: not every browser takes that for a performance caveat. */
function isSoftware(context) {
  const info = context.getExtension("WEBGL_debug_renderer_info");
  return SOFTWARE.test(context.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : context.RENDERER));
}

function makeCloud(stage) {
  const { count, origin, step, voxel } = V.data.cloud;
  const bytes = bytesOf($("cloud").textContent.trim());
  $("cloud").remove(); // megabytes of text that nobody needs any more
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(new Uint16Array(bytes.buffer, 0, count * 3), 3));
  geometry.setAttribute("color", new THREE.BufferAttribute(new Uint8Array(bytes.buffer, count * 6, count * 3), 3, true));
  const material = new THREE.PointsMaterial({
    size: voxel * POINT_SIZE, vertexColors: true, sizeAttenuation: true, clippingPlanes: [stage.ceiling],
  });
  geometry.setAttribute("facing", new THREE.BufferAttribute(new Int8Array(bytes.buffer, count * 9, count * 3), 3, true));
  seeInto(stage, material);
  const points = new THREE.Points(geometry, material);
  points.position.set(...origin);
  points.scale.setScalar(step);
  points.frustumCulled = false;
  stage.cloud = points;
  stage.pace = makePace(count, stage.slow);
  stage.cloudScene.add(points);
  points.updateMatrixWorld();
  return extentOf(geometry, origin, step);
}

/** Make points round, and hide those that face away from the camera, so that walls do not block the view into the room. */
function seeInto(stage, material) {
  stage.inside = { value: 1 };
  material.onBeforeCompile = (shader) => {
    shader.uniforms.inside = stage.inside;
    shader.fragmentShader = shader.fragmentShader.replace("#include <clipping_planes_fragment>",
      "if (length(gl_PointCoord - 0.5) > 0.5) discard;\n#include <clipping_planes_fragment>");
    shader.vertexShader = shader.vertexShader
      .replace("void main() {", "attribute vec3 facing;\nuniform float inside;\nvoid main() {")
      .replace("#include <fog_vertex>", `#include <fog_vertex>
        gl_PointSize = max(gl_PointSize, 2.5); // no gaps on a surface that is far away
        vec3 toEye = normalize(cameraPosition - (modelMatrix * vec4(position, 1.0)).xyz);
        if (inside > 0.5 && dot(facing, toEye) < -0.12) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);`);
  };
}

/** Return the extent of the middle 98 % of the points along each axis, so that outliers do not count, and points of it. */
function extentOf(geometry, origin, step) {
  const array = geometry.getAttribute("position").array;
  const low = [0, 0, 0], high = [1, 1, 1];
  const every = Math.max(1, Math.floor(array.length / 3 / 20000));
  for (let axis = 0; axis < 3; axis++) {
    const values = [];
    for (let i = axis; i < array.length; i += 3 * every) values.push(array[i]);
    if (!values.length) continue;
    values.sort((a, b) => a - b);
    low[axis] = origin[axis] + step * values[Math.floor(values.length * 0.01)];
    high[axis] = origin[axis] + step * values[Math.min(values.length - 1, Math.floor(values.length * 0.99))];
  }
  const box = new THREE.Box3(new THREE.Vector3(...low), new THREE.Vector3(...high)), points = [];
  for (let i = 0; i + 2 < array.length; i += 12 * every) {
    const point = new THREE.Vector3(array[i], array[i + 1], array[i + 2]).multiplyScalar(step).add(new THREE.Vector3(...origin));
    if (box.containsPoint(point)) points.push(point);
  }
  return { low: box.min, high: box.max, points };
}

/** Draw the camera path as a line, and a small pyramid for each frame that the model sees. */
function makePath(stage) {
  const group = new THREE.Group();
  const at = (frame) => [frame.pose[3], frame.pose[7], frame.pose[11]];
  const line = new THREE.BufferGeometry();
  line.setAttribute("position", new THREE.Float32BufferAttribute(V.data.frames.flatMap(at), 3));
  group.add(new THREE.Line(line, new THREE.LineBasicMaterial({ color: 0x5aa9ff, transparent: true, opacity: 0.55 })));
  const chosen = new Set(V.data.chosen);
  const marks = { true: [], false: [] };
  const few = V.data.frames.length <= 60; // else the line alone says where the others were
  V.data.frames.forEach((frame, index) => {
    if (few || chosen.has(index)) marks[chosen.has(index)].push(...pyramid(frame, chosen.has(index) ? 0.16 : 0.07));
  });
  for (const [kind, color, opacity] of [["true", 0x9fd0ff, 0.95], ["false", 0x5aa9ff, 0.35]]) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(marks[kind], 3));
    group.add(new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color, transparent: true, opacity })));
  }
  stage.path = group;
  stage.scene.add(group);
}

function pyramid(frame, depth) {
  const [fx, fy, cx, cy] = frame.camera, [height, width] = frame.size, p = frame.pose;
  const world = (x, y, z) => [0, 4, 8].map((r) => p[r] * x + p[r + 1] * y + p[r + 2] * z + p[r + 3]);
  const tip = world(0, 0, 0);
  const rim = [[0, 0], [width, 0], [width, height], [0, height]].map(([u, v]) =>
    world(((u - 0.5 - cx) / fx) * depth, ((v - 0.5 - cy) / fy) * depth, depth));
  return rim.flatMap((corner, i) => [...tip, ...corner, ...corner, ...rim[(i + 1) % 4]]);
}
