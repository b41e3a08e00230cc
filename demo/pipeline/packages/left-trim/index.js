module.exports = (text) => text.trimStart();
