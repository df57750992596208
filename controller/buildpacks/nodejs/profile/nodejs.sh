export NODE_HOME="$HOME/.heroku/node"
export PATH="$NODE_HOME/bin:$PATH:$HOME/bin:$HOME/node_modules/.bin"
export NODE_ENV="${NODE_ENV:-production}"
