/* es7.NAME: one of the polyfills that make most of the real entry script. */
NAME: function (module, exports, need) {
  "use strict";
  var target = typeof globalThis === "object" ? globalThis : typeof self === "object" ? self : this;
  var integer = function (value) {
    var number = Number(value);
    return number !== number ? 0 : (number > 0 ? Math.floor : Math.ceil)(number);
  };
  var length = function (value) {
    var size = integer(value);
    return size > 0 ? Math.min(size, 9007199254740991) : 0;
  };
  var index = function (value, size) {
    var at = integer(value);
    return at < 0 ? Math.max(at + size, 0) : Math.min(at, size);
  };
  exports.implementation = function NAME(callback) {
    if (this === undefined || this === null) {
      throw TypeError("Can't call NAME on " + this);
    }
    var object = Object(this), size = length(object.length), from = index(arguments[1], size), result = [];
    while (size > from) {
      if (from in object) {
        result.push(callback ? callback(object[from], from, object) : object[from]);
      }
      from++;
    }
    return result;
  };
  exports.define = function () {
    if (target.Array && !target.Array.prototype["NAME"] && need.forced) {
      Object.defineProperty(target.Array.prototype, "NAME", { value: exports.implementation, configurable: true, writable: true });
    }
  };
  exports.define();
},
