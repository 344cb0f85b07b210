"use strict";
// Eye-dome lighting (Boucheny 2009): the cloud is drawn into a texture, then each pixel is darkened by how far its
// neighbours lie in front of it. Its depth is passed on, so that the cloud hides lines that are drawn afterwards.

const NEAR = 0.05, FAR = 200; // metres, of the free camera and of the frames' cameras

const DOME = `
uniform sampler2D color, depth;
uniform vec2 pixel;
float metres(float d) { return ${(NEAR * FAR).toFixed(1)} / (${FAR.toFixed(1)} - d * ${(FAR - NEAR).toFixed(2)}); }
void main() {
  vec2 at = gl_FragCoord.xy * pixel;
  float here = texture2D(depth, at).x;
  if (here >= 1.0) discard;
  float own = log2(metres(here)), sum = 0.0;
  for (int i = 0; i < 8; i++) {
    float angle = float(i) * 0.785398;
    float other = texture2D(depth, at + 1.4 * pixel * vec2(cos(angle), sin(angle))).x;
    if (other < 1.0) sum += max(0.0, own - log2(metres(other)) - 0.002);
  }
  gl_FragColor = vec4(texture2D(color, at).rgb * max(0.35, exp(-sum * 6.0)), 1.0);
  gl_FragDepth = here;
}`;

function makeDome(renderer) {
  const size = renderer.getDrawingBufferSize(new THREE.Vector2());
  const target = new THREE.WebGLRenderTarget(size.x, size.y, {
    minFilter: THREE.NearestFilter, magFilter: THREE.NearestFilter,
    depthTexture: new THREE.DepthTexture(size.x, size.y, THREE.UnsignedIntType),
  });
  const material = new THREE.ShaderMaterial({
    uniforms: { color: { value: target.texture }, depth: { value: target.depthTexture }, pixel: { value: new THREE.Vector2() } },
    vertexShader: "void main() { gl_Position = vec4(position.xy, 0.0, 1.0); }",
    fragmentShader: DOME,
  });
  const sheet = new THREE.Mesh(new THREE.PlaneGeometry(2, 2), material);
  sheet.frustumCulled = false;
  const scene = new THREE.Scene();
  scene.add(sheet);
  return { target, material, scene, camera: new THREE.OrthographicCamera(-1, 1, 1, -1, 0, 1) };
}

/** Draw the cloud, shaded where `shaded`, and the rest of the scene over it. */
function drawScene(stage, shaded) {
  const { renderer, dome, camera } = stage;
  if (shaded) {
    const size = renderer.getDrawingBufferSize(new THREE.Vector2());
    if (dome.target.width !== size.x || dome.target.height !== size.y) dome.target.setSize(size.x, size.y);
    dome.material.uniforms.pixel.value.set(1 / size.x, 1 / size.y);
    renderer.setRenderTarget(dome.target);
    renderer.render(stage.cloudScene, camera);
    renderer.setRenderTarget(null);
    renderer.render(dome.scene, dome.camera);
  } else {
    renderer.render(stage.cloudScene, camera);
  }
  renderer.autoClear = false;
  renderer.render(stage.scene, camera);
  renderer.autoClear = true;
}
