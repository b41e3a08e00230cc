module.exports = (question) => `\n? ${question} `;
