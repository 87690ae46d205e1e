// Loaded before server-everything, which would listen on every interface: it gets a free port of the loopback, and says which.
// It ends with whoever started it.
import { Server } from "node:net";

process.stdin.on("end", () => process.exit()).resume();

const listen = Server.prototype.listen;

Server.prototype.listen = function (_port, ...rest) {
  this.once("listening", () => console.log(JSON.stringify({ url: `http://127.0.0.1:${this.address().port}` })));
  return listen.call(this, { port: 0, host: "127.0.0.1" }, ...rest.filter((argument) => typeof argument === "function"));
};
