import { createApp } from "./app.ts";

const port = Number(process.env["PORT"] ?? 3000);
const server = createApp().listen(port, "0.0.0.0", () => console.log(`listening on ${port}`));

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeAllConnections();
  });
}
