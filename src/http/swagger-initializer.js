// Starts Swagger UI; served in the place of the file of this name that comes with it.

// Up to 5.32 at least, the editor keeps what the last form was filled with when another media type is chosen: after a file
// in the form, the JSON field "image" reads {"value": {}, "errors": []} (swagger-ui issue 10738). Forgetting it brings the
// example back.
const forgetBodyOnNewMediaType = () => ({
  statePlugins: {
    oas3: {
      wrapActions: {
        setRequestContentType: (next, system) => (payload) => {
          system.oas3Actions.setRequestBodyValue({ value: undefined, pathMethod: payload.pathMethod });
          return next(payload);
        },
      },
    },
  },
});

window.onload = () => {
  window.ui = SwaggerUIBundle({
    dom_id: "#swagger-ui",
    url: "/openapi.json",
    deepLinking: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    validatorUrl: "none",
    layout: "StandaloneLayout",
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
    plugins: [SwaggerUIBundle.plugins.DownloadUrl, forgetBodyOnNewMediaType],
  });
};
