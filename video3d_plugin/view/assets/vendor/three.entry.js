export {
  WebGLRenderer, Scene, PerspectiveCamera, BufferGeometry, BufferAttribute, Float32BufferAttribute, Points,
  PointsMaterial, Line, LineSegments, LineBasicMaterial, Group, Vector3, Vector2, Vector4, Matrix4, Quaternion, Box3,
  Raycaster, Ray, Color, Plane, ColorManagement, LinearSRGBColorSpace, REVISION, DynamicDrawUsage, Mesh, BoxGeometry,
  MeshBasicMaterial, DoubleSide, GridHelper, MathUtils, WebGLRenderTarget, DepthTexture, ShaderMaterial, PlaneGeometry,
  OrthographicCamera, UnsignedIntType, NearestFilter
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
export { LineSegments2 } from "three/addons/lines/LineSegments2.js";
export { LineSegmentsGeometry } from "three/addons/lines/LineSegmentsGeometry.js";
export { LineMaterial } from "three/addons/lines/LineMaterial.js";
